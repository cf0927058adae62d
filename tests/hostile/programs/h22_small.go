package main

import "fmt"

func main() {
	x := make([]byte, 64<<20)
	for i := range x {
		x[i] = 1
	}
	fmt.Println("started", len(x))
}
