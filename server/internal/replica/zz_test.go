package replica

import (
	"fmt"
	"testing"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

func TestZZ(t *testing.T) {
	r := &crashRun{t: t}
	r.run(0, nil)
	for i, c := range r.clones {
		before := ""
		for p := range 3 {
			b, err := vfs.ReadFile(c.disk, fmt.Sprintf("d1/t-%d/00000000000000000000.log", p))
			before += fmt.Sprint(" ", len(b), err)
		}
		one := &crashRun{t: t, clones: []crashClone{c}}
		if l := one.lost(); len(l) > 0 {
			t.Log(i, c.what, before, len(batchOf("0/0/0")), l)
		}
	}
}
