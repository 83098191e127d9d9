// Command millrace is the whole platform in one binary: a node, the tools for people, and Kafka's own
// scripts under their own names.
package main

import (
	"os"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
