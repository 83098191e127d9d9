package millrace_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// decoderName is how functions are called that make something of bytes.
var decoderName = regexp.MustCompile(`^([Pp]arse|[Dd]ecode|[Nn]ext)([A-Z]|$)`)

// moreDecoders read a file by its name, so their parameters do not tell that they take bytes of others.
var moreDecoders = []string{
	"server/internal/commitlog.ReadSnapshot", "server/internal/commitlog.ReadCleanShutdown", "server/internal/commitlog/segment.New",
	"server/internal/quorum.readSnapshot", "server/internal/quorum.readElection", "server/internal/listener.Serve", "config.ParseProperties",
}

// reachedThrough names the fuzz target that reaches a decoder which it does not call itself, and how.
var reachedThrough = map[string]string{
	"internal/wire.decodeTyped":                         "FuzzStored: by DecodeMetadataRecord and its siblings",
	"internal/record.ParseControlKey":                   "FuzzSnapshot: of the quorum",
	"server/internal/commitlog.parseTextCheckpoint":     "FuzzCheckpoint: by ParseCheckpoint",
	"server/internal/commitlog/segment.parseBatch":      "FuzzIndexes: by the scanner",
	"server/internal/commitlog/segment.ParseAbortedTxn": "FuzzIndexes: by TxnIndex.All",
	"server/internal/quorum.decodeVersioned":            "FuzzDecode: it reads a version and calls wire.Decode",
	"server/internal/metadata.Decode":                   "FuzzStored: by wire.DecodeMetadataRecord",
	"server/internal/replica.parseSummary":              "FuzzManifest: by parseManifest",
	"server/internal/replica.parseFrame":                "FuzzJournal: by parseJournal",
	"server/internal/listener.Serve":                    "FuzzFrames: a listener is served any bytes",
	"cmd/millrace/internal/cli/scripts.parseDeletions":  "encoding/json: the command's own user writes it",
	"cmd/millrace/internal/cli.parseJSONRecord":         "encoding/json: the command's own user writes it",
}

// TestDecodersAreFuzzed finds the functions that make something of bytes from outside the process, and holds that a fuzz
// target of their room calls each of them, or that it stands above which target reaches it.
func TestDecodersAreFuzzed(t *testing.T) {
	decoders := slices.Clone(moreDecoders)
	targets := map[string]bool{}
	called := map[string]bool{} // "room.name" for every name in the body of a fuzz target
	files := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "conformance" || d.Name() == "testdata" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		room := path.Dir(filepath.ToSlash(name))
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			switch {
			case !ok || f.Recv != nil:
			case strings.HasSuffix(name, "_test.go") && strings.HasPrefix(f.Name.Name, "Fuzz"):
				targets[f.Name.Name] = true
				ast.Inspect(f.Body, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok {
						called[room+"."+id.Name] = true
					}
					return true
				})
			case !strings.HasSuffix(name, "_test.go") && decoderName.MatchString(f.Name.Name) && takesBytes(f):
				decoders = append(decoders, room+"."+f.Name.Name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(decoders)
	if len(targets) < 20 || len(decoders) < 25 {
		t.Fatalf("only %d fuzz targets and %d decoders were found: %v", len(targets), len(decoders), decoders)
	}
	for _, decoder := range decoders {
		how, listed := reachedThrough[decoder]
		target, _, _ := strings.Cut(how, ":")
		switch {
		case called[decoder] && listed:
			t.Errorf("%s is called by a fuzz target of its room; it need not be listed", decoder)
		case !called[decoder] && !listed:
			t.Errorf("no fuzz target calls %s: write one, or say in reachedThrough which reaches it", decoder)
		case listed && strings.HasPrefix(target, "Fuzz") && !targets[target]:
			t.Errorf("%s is to be reached through %s, which there is not", decoder, target)
		}
	}
	for _, decoder := range slices.Sorted(maps.Keys(reachedThrough)) {
		if !slices.Contains(decoders, decoder) {
			t.Errorf("%s is listed, and is no decoder any more", decoder)
		}
	}
}

// takesBytes reports whether a parameter of a function is a []byte.
func takesBytes(f *ast.FuncDecl) bool {
	return slices.ContainsFunc(f.Type.Params.List, func(p *ast.Field) bool {
		a, ok := p.Type.(*ast.ArrayType)
		if !ok || a.Len != nil {
			return false
		}
		id, ok := a.Elt.(*ast.Ident)
		return ok && id.Name == "byte"
	})
}
