
// The test's side: runs the test with what the program has returned. It never shares a box with the program; what came
// from there is data. Exit status 42: passed; 43: not; anything else is a fault of the test.
var assayCalls, assayGiven []string
var assayAt int

func assayEnd(passed bool, why string) {
	if assayioutil.WriteFile(assayos.Args[3]+"/judgemessage.txt", []byte(why+"\n"), 0644) != nil {
		assayos.Exit(1)
	}
	if passed {
		assayos.Exit(42)
	}
	assayos.Exit(43)
}

func assayRead(b []byte, err error) []string {
	if err != nil {
		assayos.Exit(1)
	}
	return assayLines(b)
}

func assayAnswer(name string, t assayreflect.Type, args []assayreflect.Value) []assayreflect.Value {
	if assayAt >= len(assayCalls) {
		assayEnd(false, "the test makes more calls than were recorded of it")
	}
	if name+assayPutAll(args) != assayCalls[assayAt] {
		assayEnd(false, assayfmt.Sprintf("call %d is not the one that was recorded: its arguments come from an earlier result", assayAt+1))
	}
	if assayAt >= len(assayGiven) {
		assayEnd(false, assayfmt.Sprintf("the program ended before call %d", assayAt+1))
	}
	assayAt++
	return assayResults(t, assayGiven[assayAt-1])
}

func main() {
	calls, err := assayioutil.ReadFile(assayos.Args[1])
	assayCalls = assayRead(calls, err)
	given, err := assayioutil.ReadAll(assayos.Stdin)
	assayGiven = assayRead(given, err)
	if len(assayGiven) > len(assayCalls) {
		assayEnd(false, assayfmt.Sprintf("it gave %d results to %d calls", len(assayGiven), len(assayCalls)))
	}
	defer func() {
		e := recover()
		why := assayfmt.Sprint(e)
		if f, is := e.(assayFailed); is {
			why = f.why
		}
		if assayAt > 0 {
			last := assayGiven[assayAt-1]
			if len(last) > 500 {
				last = last[:500]
			}
			why += assayfmt.Sprintf("\ncall %d gave %s", assayAt, last)
		}
		assayEnd(false, why)
	}()
	assayTests()
	if assayAt != len(assayCalls) {
		assayEnd(false, assayfmt.Sprintf("the test made %d of %d calls", assayAt, len(assayCalls)))
	}
	assayEnd(true, assayfmt.Sprintf("%d calls", assayAt))
}
