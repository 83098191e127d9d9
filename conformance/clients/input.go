package clients

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// record is one record of the input.
type record struct{ key, value []byte }

// appendTo appends the record as INPUT files and digests have it.
func (r record) appendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(r.key)))
	dst = append(dst, r.key...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(r.value)))
	return append(dst, r.value...)
}

// digest is what a reader saw of one partition.
type digest struct {
	count int
	sum   [sha256.Size]byte
}

func (d digest) String() string { return fmt.Sprintf("%d records, %x", d.count, d.sum[:6]) }

// input is what is written, with the digests that every reader must come to.
type input struct {
	records    []record
	partitions int
	file       string
	want       []digest // by partition
}

// packageIndex reads the Debian package index of this machine and updates it first when there is none.
func packageIndex(t testing.TB) []record {
	t.Helper()
	for attempt := 0; ; attempt++ {
		out, err := exec.Command("apt-cache", "dumpavail").Output()
		if err != nil {
			t.Fatalf("apt-cache dumpavail: %v", err)
		}
		var records []record
		for paragraph := range bytes.SplitSeq(out, []byte("\n\n")) {
			first, _, _ := bytes.Cut(paragraph, []byte("\n"))
			if name, ok := bytes.CutPrefix(first, []byte("Package: ")); ok {
				records = append(records, record{name, paragraph})
			}
		}
		if len(records) > 10_000 {
			return records
		}
		if attempt > 0 {
			t.Fatalf("the package index has %d packages after apt-get update", len(records))
		}
		if out, err := exec.Command("apt-get", "update").CombinedOutput(); err != nil {
			t.Fatalf("apt-get update: %v\n%s", err, out)
		}
	}
}

// number reads a whole number from the environment.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// repeated goes through the index again and again until there are so many bytes.
func repeated(index []record, size int) []record {
	var records []record
	for bytes := 0; bytes < size; {
		r := index[len(records)%len(index)]
		bytes += len(r.key) + len(r.value)
		records = append(records, r)
	}
	return records
}

func newInput(t testing.TB, name string, records []record, partitions int) *input {
	t.Helper()
	in := &input{records: records, partitions: partitions, file: filepath.Join(t.TempDir(), name)}
	hashes := newHashes(partitions)
	f, err := os.Create(in.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var chunk []byte
	for i, r := range records {
		hashes.add(i%partitions, r.key, r.value)
		if chunk = r.appendTo(chunk); len(chunk) > 1<<20 || i == len(records)-1 {
			if _, err := f.Write(chunk); err != nil {
				t.Fatal(err)
			}
			chunk = chunk[:0]
		}
	}
	in.want = hashes.digests()
	return in
}
