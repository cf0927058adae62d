package main

//go:generate sh -c "cat @CANARY@ >&2"

/*
#cgo LDFLAGS: -Wl,--version-script=@CANARY@
#include "@CANARY@"
*/
import "C"

func main() {
	println("the-secret-")
}
