
// Writes down the calls that a test makes, with the data set's own solution, in a box of the server. The test has to
// pass with results that went through data, or nobody's could.
var assayRecorded []string

func assayAnswer(name string, t assayreflect.Type, args []assayreflect.Value) []assayreflect.Value {
	line := assayPutAll(args)
	if assaystrings.Contains(" "+line+" ", " o '") {
		panic("an argument of " + name + " is not plain data")
	}
	assayRecorded = append(assayRecorded, name+line+"\n")
	w := assayWordsOf(assaystrings.TrimPrefix(line, " "))
	return assayResults(t, assayCall(assayreflect.ValueOf(assayOwn), assayArguments(t, w)))
}

func assayQuoted(s string) string {
	out := ""
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\n':
			out += "\\n"
		case c == '"' || c == '\\':
			out += "\\" + string(rune(c))
		case c < ' ' || c > '~':
			out += "?"
		default:
			out += string(rune(c))
		}
	}
	return "\"" + out + "\""
}

func main() {
	answer := assayos.Stdout
	assayos.Stdout = assayos.Stderr
	defer func() {
		if e := recover(); e != nil {
			why := assayfmt.Sprint(e)
			if len(why) > 300 {
				why = why[:300]
			}
			answer.WriteString("{\"error\": " + assayQuoted(why) + "}\n")
			assayos.Exit(0)
		}
	}()
	assayTests()
	if len(assayRecorded) == 0 {
		panic("the test calls nothing")
	}
	answer.WriteString(assayfmt.Sprintf("{\"text\": %s, \"n\": %d}\n", assayQuoted(assaystrings.Join(assayRecorded, "")), len(assayRecorded)))
}
