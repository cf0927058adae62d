
// The program's side: calls come in, a line each, and results go out, a line each. It holds no test, and nothing that it
// says is believed beyond "this is what was returned", so it need not be kept from the program that it runs.
func main() {
	results := assayos.Stdout
	assayos.Stdout = assayos.Stderr // what the program prints is not among the results
	calls, err := assayioutil.ReadAll(assayos.Stdin)
	if err != nil {
		assayos.Exit(1)
	}
	f := assayreflect.ValueOf(assayFunction)
	for _, line := range assayLines(calls) {
		w := assayWordsOf(line)
		w.next()
		if _, err := results.WriteString(assayCall(f, assayArguments(f.Type(), w)) + "\n"); err != nil {
			assayos.Exit(1)
		}
	}
	assayos.Exit(0) // whatever the program has left running
}
