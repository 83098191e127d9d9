package golang_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/millrace-io/millrace/internal/wire/definitions"
	"github.com/millrace-io/millrace/internal/wire/gen/golang"
)

// The generated files are what the definitions say today, no file more and no file less.
func TestGeneratedFilesAreUpToDate(t *testing.T) {
	want, err := golang.Files(definitions.Load())
	if err != nil {
		t.Fatal(err)
	}
	const room = "../.."
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(room, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if !bytes.Equal(got, text) {
			t.Errorf("%s is not what the definitions say: run go generate ./internal/wire", name)
		}
		if len(got) > 1<<20 {
			t.Errorf("%s has %d bytes; generated files stay below 1 MiB", name, len(got))
		}
	}
	have, _ := filepath.Glob(filepath.Join(room, "*_gen.go"))
	if len(have) != len(want) {
		t.Errorf("there are %d generated files, want %d: %q", len(have), len(want), have)
	}
}
