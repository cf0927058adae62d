// Values that cross between the program and the test's side, as words of plain ASCII with a space between each two: numbers,
// "'" and a text with all but letters and digits as %XX, "[" and "{" and a number before so many elements or pairs, "n" for nil.
// The type says what comes; only in an interface it comes along, and there only plain ones are known.

type assayMalformed struct{}

func (assayMalformed) Error() string { return "it is not what the function is declared to return" }

type assayOpaque struct{ kind string }

type assayWords struct {
	list []string
	at   int
}

func assayWordsOf(text string) *assayWords {
	if text == "" {
		return &assayWords{}
	}
	return &assayWords{list: assaystrings.Split(text, " ")}
}

func (w *assayWords) next() string {
	if w.at >= len(w.list) {
		panic(assayMalformed{})
	}
	w.at++
	return w.list[w.at-1]
}

func (w *assayWords) number(kind byte) int {
	word := w.next()
	if word == "" || word[0] != kind {
		panic(assayMalformed{})
	}
	n, err := assaystrconv.Atoi(word[1:])
	if err != nil || n < 0 || n > len(w.list) {
		panic(assayMalformed{})
	}
	return n
}

func assayEscaped(s string) string {
	out := []byte{'\''}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			out = append(out, c)
		} else {
			out = append(out, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return string(out)
}

func assayUnescaped(word string) string {
	out := []byte{}
	if word == "" || word[0] != '\'' {
		panic(assayMalformed{})
	}
	for i := 1; i < len(word); i++ {
		if word[i] != '%' {
			out = append(out, word[i])
			continue
		}
		if i+2 >= len(word) {
			panic(assayMalformed{})
		}
		c, err := assaystrconv.ParseUint(word[i+1:i+3], 16, 8)
		if err != nil {
			panic(assayMalformed{})
		}
		out = append(out, byte(c))
		i += 2
	}
	return string(out)
}

var assayPlain = func() map[string]assayreflect.Type {
	all := map[string]assayreflect.Type{}
	for _, v := range []interface{}{false, int(0), int8(0), int16(0), int32(0), int64(0), uint(0), uint8(0), uint16(0), uint32(0), uint64(0), float32(0),
		float64(0), "", []interface{}{}, []bool{}, []int{}, []float64{}, []string{}, []byte{}, [][]int{}, [][]string{}, map[string]int{}, map[string]string{},
		map[int]int{}, map[string]interface{}{}, map[interface{}]interface{}{}} {
		all[assayreflect.TypeOf(v).String()] = assayreflect.TypeOf(v)
	}
	return all
}()

func assayPut(v assayreflect.Value) string {
	switch v.Kind() {
	case assayreflect.Bool:
		if v.Bool() {
			return "1"
		}
		return "0"
	case assayreflect.Int, assayreflect.Int8, assayreflect.Int16, assayreflect.Int32, assayreflect.Int64:
		return assaystrconv.FormatInt(v.Int(), 10)
	case assayreflect.Uint, assayreflect.Uint8, assayreflect.Uint16, assayreflect.Uint32, assayreflect.Uint64:
		return assaystrconv.FormatUint(v.Uint(), 10)
	case assayreflect.Float32, assayreflect.Float64:
		return assaystrconv.FormatFloat(v.Float(), 'x', -1, 64)
	case assayreflect.String:
		return assayEscaped(v.String())
	case assayreflect.Slice, assayreflect.Array:
		if v.Kind() == assayreflect.Slice && v.IsNil() {
			return "n"
		}
		all := "[" + assaystrconv.Itoa(v.Len())
		for i := 0; i < v.Len(); i++ {
			all += " " + assayPut(v.Index(i))
		}
		return all
	case assayreflect.Map:
		if v.IsNil() {
			return "n"
		}
		pairs := []string{}
		for _, k := range v.MapKeys() {
			pairs = append(pairs, " "+assayPut(k)+" "+assayPut(v.MapIndex(k)))
		}
		assaysort.Strings(pairs)
		return "{" + assaystrconv.Itoa(len(pairs)) + assaystrings.Join(pairs, "")
	case assayreflect.Ptr:
		if v.IsNil() {
			return "n"
		}
		return "[1 " + assayPut(v.Elem())
	case assayreflect.Interface:
		if v.IsNil() {
			return "n"
		}
		if e, is := v.Interface().(error); is {
			return "e " + assayEscaped(e.Error())
		}
		name := v.Elem().Type().String()
		if assayPlain[name] != v.Elem().Type() {
			return "o " + assayEscaped(name)
		}
		return "t " + assayEscaped(name) + " " + assayPut(v.Elem())
	}
	panic("a value of type " + v.Type().String() + " is not plain data")
}

func assayGet(t assayreflect.Type, w *assayWords) assayreflect.Value {
	v := assayreflect.New(t).Elem()
	var err error
	switch t.Kind() {
	case assayreflect.Bool:
		word := w.next()
		if word != "0" && word != "1" {
			panic(assayMalformed{})
		}
		v.SetBool(word == "1")
	case assayreflect.Int, assayreflect.Int8, assayreflect.Int16, assayreflect.Int32, assayreflect.Int64:
		var n int64
		n, err = assaystrconv.ParseInt(w.next(), 10, t.Bits())
		v.SetInt(n)
	case assayreflect.Uint, assayreflect.Uint8, assayreflect.Uint16, assayreflect.Uint32, assayreflect.Uint64:
		var n uint64
		n, err = assaystrconv.ParseUint(w.next(), 10, t.Bits())
		v.SetUint(n)
	case assayreflect.Float32, assayreflect.Float64:
		var x float64
		x, err = assaystrconv.ParseFloat(w.next(), 64)
		v.SetFloat(x)
	case assayreflect.String:
		v.SetString(assayUnescaped(w.next()))
	case assayreflect.Slice:
		if w.at < len(w.list) && w.list[w.at] == "n" {
			w.at++
			return v
		}
		n := w.number('[')
		v.Set(assayreflect.MakeSlice(t, 0, n))
		for i := 0; i < n; i++ {
			v.Set(assayreflect.Append(v, assayGet(t.Elem(), w)))
		}
	case assayreflect.Array:
		if w.number('[') != t.Len() {
			panic(assayMalformed{})
		}
		for i := 0; i < t.Len(); i++ {
			v.Index(i).Set(assayGet(t.Elem(), w))
		}
	case assayreflect.Map:
		if w.at < len(w.list) && w.list[w.at] == "n" {
			w.at++
			return v
		}
		n := w.number('{')
		v.Set(assayreflect.MakeMap(t))
		for i := 0; i < n; i++ {
			k := assayGet(t.Key(), w)
			v.SetMapIndex(k, assayGet(t.Elem(), w))
		}
	case assayreflect.Ptr:
		if w.at < len(w.list) && w.list[w.at] == "n" {
			w.at++
			return v
		}
		if w.number('[') != 1 {
			panic(assayMalformed{})
		}
		v.Set(assayreflect.New(t.Elem()))
		v.Elem().Set(assayGet(t.Elem(), w))
	case assayreflect.Interface:
		var x interface{}
		switch w.next() {
		case "n":
			return v
		case "e":
			x = assayerrors.New(assayUnescaped(w.next()))
		case "o":
			x = &assayOpaque{assayUnescaped(w.next())}
		case "t":
			known := assayPlain[assayUnescaped(w.next())]
			if known == nil {
				panic(assayMalformed{})
			}
			x = assayGet(known, w).Interface()
		default:
			panic(assayMalformed{})
		}
		if !assayreflect.TypeOf(x).Implements(t) {
			panic(assayMalformed{})
		}
		v.Set(assayreflect.ValueOf(x))
	default:
		panic("a value of type " + t.String() + " is not plain data")
	}
	if err != nil {
		panic(assayMalformed{})
	}
	return v
}

func assayPutAll(list []assayreflect.Value) string {
	all := ""
	for _, v := range list {
		all += " " + assayPut(v)
	}
	return all
}

func assayArguments(f assayreflect.Type, w *assayWords) []assayreflect.Value {
	list := []assayreflect.Value{}
	for i := 0; i < f.NumIn(); i++ {
		list = append(list, assayGet(f.In(i), w))
	}
	return list
}

func assayCall(f assayreflect.Value, args []assayreflect.Value) (text string) {
	defer func() {
		if e := recover(); e != nil {
			text = assayEscaped(assayfmt.Sprint(e))
			if len(text) > 1000 {
				text = assayEscaped("a panic")
			}
			text = "! " + text
		}
	}()
	if f.Type().IsVariadic() {
		return "=" + assayPutAll(f.CallSlice(args))
	}
	return "=" + assayPutAll(f.Call(args))
}

func assayResults(f assayreflect.Type, line string) []assayreflect.Value {
	w := assayWordsOf(line)
	kind := w.next()
	if kind == "!" {
		panic("the program panicked: " + assayUnescaped(w.next()))
	}
	if kind != "=" {
		panic(assayMalformed{})
	}
	list := []assayreflect.Value{}
	for i := 0; i < f.NumOut(); i++ {
		list = append(list, assayGet(f.Out(i), w))
	}
	if w.at != len(w.list) {
		panic(assayMalformed{})
	}
	return list
}

func assayLines(text []byte) []string {
	s := assaystrings.TrimSuffix(string(text), "\n")
	if s == "" {
		return nil
	}
	return assaystrings.Split(s, "\n")
}

var _ = assayioutil.ReadAll // which not every side needs
