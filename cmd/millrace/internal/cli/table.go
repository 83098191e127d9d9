package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// table is what a command prints for people: columns as wide as their widest cell.
//
//	TOPIC      PARTITIONS  REPLICAS
//	greetings           3         1
type table struct {
	header []string
	right  []bool // columns of numbers
	rows   [][]string
}

// newTable makes a table; the columns whose head begins with > stand to the right.
func newTable(header ...string) *table {
	t := &table{header: header, right: make([]bool, len(header))}
	for i := range header {
		header[i], t.right[i] = strings.CutPrefix(header[i], ">")
	}
	return t
}

// add adds a row.
func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = fmt.Sprint(cell)
	}
	t.rows = append(t.rows, row)
}

func (t *table) print(w io.Writer) {
	widths := make([]int, len(t.header))
	for i, head := range t.header {
		widths[i] = utf8.RuneCountInString(head)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	var b strings.Builder
	for _, row := range slices.Concat([][]string{t.header}, t.rows) {
		line := make([]string, len(row))
		for i, cell := range row {
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if t.right[i] {
				line[i] = padding + cell
			} else {
				line[i] = cell + padding
			}
		}
		b.WriteString(strings.TrimRight(strings.Join(line, "  "), " ") + "\n")
	}
	io.WriteString(w, b.String())
}

// outputFlag is the flag of how a command prints.
type outputFlag struct{ json bool }

// flag adds --output to a command, whose other form is called what plain says: table or text.
func (o *outputFlag) flag(cmd *cobra.Command, plain string) {
	cmd.Flags().VarP(&outputValue{o, plain}, "output", "o", "how to print: "+plain+", or json, one object in each line")
	cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{plain, "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// outputValue is the pflag.Value of --output.
type outputValue struct {
	flag  *outputFlag
	plain string
}

func (v *outputValue) String() string {
	if v.flag != nil && v.flag.json {
		return "json"
	}
	return v.plain
}

func (v *outputValue) Type() string { return v.plain + "|json" }

func (v *outputValue) Set(s string) error {
	switch s {
	case v.plain, "json":
		v.flag.json = s == "json"
		return nil
	}
	return fmt.Errorf("it is %s or json", v.plain)
}

// printJSON prints an object in a line.
func printJSON(w io.Writer, object any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(object)
}

// joinIDs writes broker ids with commas between.
func joinIDs(ids []int32) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = strconv.Itoa(int(id))
	}
	return strings.Join(words, ",")
}

// size writes bytes as people read them: 12 B, 3.4 MiB.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), 0
	for value >= 1024 && unit < 5 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, "_KMGTP"[unit])
}

// grouped writes a number with commas between its thousands: 1,234,567.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural is a count with its noun: 1 partition, 3 partitions.
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(n) + " " + noun + "s"
}
