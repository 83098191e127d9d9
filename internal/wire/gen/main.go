// Command gen writes the generated part of package wire (apis_gen.go, requests_gen.go, responses_gen.go,
// records_gen.go) from internal/wire/definitions into the directory that it is run in.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/millrace-io/millrace/internal/wire/definitions"
	"github.com/millrace-io/millrace/internal/wire/gen/golang"
)

func main() {
	generated, err := golang.Files(definitions.Load())
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
	for name, text := range generated {
		if err := os.WriteFile(filepath.Join(".", name), text, 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "gen:", err)
			os.Exit(1)
		}
	}
}
