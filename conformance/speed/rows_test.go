package speed

// row is one load and who takes it.
type row struct {
	name       string
	partitions int32
	// load is what kload is told; fill, where there is one, is what it is told first, unmeasured.
	fill, load string
	seconds    int // 0: as the environment says
	who        []contender
}

const (
	eightByEight = "-mode produce -raw -clients 8 -acks 1 "
	oneMegabyte  = "-mode produce -raw -acks 1 -batch-bytes 1000000 "
	records      = "-mode produce -acks all "
)

var rows = []row{
	{name: "produce 100 KB", partitions: 8, load: eightByEight + "-batch-bytes 100000", who: []contender{floor, cache, disk, kafka}},
	{name: "produce 1 MB", partitions: 1, load: oneMegabyte, who: []contender{floor, cache, disk, kafka}},
	{name: "produce 1 KB", partitions: 8, load: eightByEight + "-batch-bytes 1 -record-size 1024 -inflight 20", who: []contender{floor, cache, disk, kafka}},
	{name: "produce lz4", partitions: 8, load: eightByEight + "-batch-bytes 100000 -compression lz4", who: []contender{floor, cache}},
	{name: "produce zstd", partitions: 8, load: eightByEight + "-batch-bytes 100000 -compression zstd", who: []contender{floor, cache}},
	{name: "fetch 1 MB", partitions: 1, fill: oneMegabyte, load: "-mode consume -raw", who: []contender{floor, cache, kafka}},
	{name: "records", partitions: 8, load: records, who: []contender{floor, cache, disk, kafka, fake}},
	{name: "consume", partitions: 8, fill: records, load: "-mode consume", who: []contender{floor, cache, kafka, fake}},
	// Apache Kafka stands still for about a second when a hundred new logs get their first records. What the client gathers
	// meanwhile leaves it in large batches, which cost it little: that is no part of the load.
	{name: "100 partitions", partitions: 100, load: "-mode produce -acks all -record-size 100 -warmup 4s", who: []contender{floor, cache, disk, kafka}},
	{name: "ack", partitions: 1, load: "-mode produce -raw -acks 1 -batch-bytes 1 -record-size 1024 -rate 5000", seconds: 5, who: []contender{floor, cache, disk, kafka}},
	{name: "end to end", partitions: 1, load: "-mode e2e -acks all -rate 2000", seconds: 5, who: []contender{fake, cache, disk, kafka}},
}

// figures are what kload says of one run.
type figures struct {
	MBps       float64 `json:"MBps"`
	RecordMBps float64 `json:"rec_MBps"`
	OpsPerS    float64 `json:"ops_per_s"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	CPU        float64 `json:"broker_cpu_s_per_GB"`
	User       float64 `json:"broker_user_s_per_GB"`
	Cores      float64 `json:"broker_cores"`
	Client     float64 `json:"client_cpu_s_per_GB"`
	RSS        float64 `json:"broker_rss_MB"`
	Errors     int64   `json:"errors"`
	FirstError string  `json:"first_error"`
}

// recordCPU is CPU seconds per GB of uncompressed records.
func (f figures) recordCPU() float64 { return f.CPU * f.MBps / f.RecordMBps }

// perRequest is CPU microseconds per request.
func (f figures) perRequest() float64 { return f.Cores * 1e6 / f.OpsPerS }

// goal is a figure of docs/performance.md, and how good it must be.
type goal struct {
	number, what    string
	rows            []string // it is judged when all of them ran
	value           func(r results) float64
	must, excellent float64
	atLeast         bool // otherwise at most
}

// of makes the value that compares a figure of two contenders in one row.
func of(row, who, against string, figure func(figures) float64) func(results) float64 {
	return func(r results) float64 {
		return r.median(row, who, figure) / r.median(row, against, figure)
	}
}

func mbps(f figures) float64 { return f.MBps }
func cpu(f figures) float64  { return f.CPU }
func p50(f figures) float64  { return f.P50 }
func p99(f figures) float64  { return f.P99 }
func p999(f figures) float64 { return f.P999 }

var goals = []goal{
	{"1", "produce 100 KB, CPU against the floor", []string{"produce 100 KB"}, of("produce 100 KB", "cache", "kfloor", cpu), 1.35, 1.15, false},
	{"2", "produce 100 KB, MB/s against the floor", []string{"produce 100 KB"}, of("produce 100 KB", "cache", "kfloor", mbps), 0.75, 0.90, true},
	{"3", "produce 1 MB, MB/s against the floor", []string{"produce 1 MB"}, of("produce 1 MB", "cache", "kfloor", mbps), 0.85, 0.95, true},
	{"3", "produce 1 MB, CPU: floor against us", []string{"produce 1 MB"}, of("produce 1 MB", "kfloor", "cache", cpu), 0.85, 0.95, true},
	{"4", "produce 1 KB, CPU against the floor", []string{"produce 1 KB"}, of("produce 1 KB", "cache", "kfloor", cpu), 1.0, 0.7, false},
	{"5", "fetch 1 MB, MB/s against the floor", []string{"fetch 1 MB"}, of("fetch 1 MB", "cache", "kfloor", mbps), 0.85, 0.95, true},
	{"5", "fetch 1 MB, CPU: floor against us", []string{"fetch 1 MB"}, of("fetch 1 MB", "kfloor", "cache", cpu), 0.85, 0.95, true},
	{"6", "records, MB/s against the floor", []string{"records"}, of("records", "cache", "kfloor", mbps), 0.90, 0.95, true},
	{"6", "consume, MB/s against the floor", []string{"consume"}, of("consume", "cache", "kfloor", mbps), 0.90, 0.95, true},
	{"6", "records, MB/s against kfake", []string{"records"}, of("records", "cache", "kfake", mbps), 1, 1, true},
	{"6", "consume, MB/s against kfake", []string{"consume"}, of("consume", "cache", "kfake", mbps), 1, 1, true},
	{"8", "acknowledgement at 5000/s, p50 against the floor", []string{"ack"}, of("ack", "cache", "kfloor", p50), 1.4, 1.15, false},
	{"9", "acknowledgement at 5000/s, p99 against the floor", []string{"ack"}, of("ack", "cache", "kfloor", p99), 2, 1.3, false},
	{"10", "end to end at 2000/s, p50 against kfake", []string{"end to end"}, of("end to end", "cache", "kfake", p50), 1.3, 1, false},
	{"10", "end to end at 2000/s, p99 against kfake", []string{"end to end"}, of("end to end", "cache", "kfake", p99), 1.5, 1, false},
	{"11", "produce 100 KB synced, MB/s against the floor", []string{"produce 100 KB"}, of("produce 100 KB", "disk", "kfloor", mbps), 0.33 * 0.8, 0.33, true},
	{"22", "lz4 looked into, CPU s per GB of records over plain", []string{"produce 100 KB", "produce lz4"}, over("produce lz4"), 0.5, 0.35, false},
	{"22", "zstd looked into, CPU s per GB of records over plain", []string{"produce 100 KB", "produce zstd"}, over("produce zstd"), 1.2, 0.8, false},
	{"23", "class disk against cache, MB/s", []string{"produce 100 KB"}, of("produce 100 KB", "disk", "cache", mbps), 0.4, 0.6, true},
	{"23", "class disk against cache, CPU", []string{"produce 100 KB"}, of("produce 100 KB", "disk", "cache", cpu), 2, 1.5, false},
	ahead("produce 100 KB", mbps), ahead("produce 1 MB", mbps), ahead("produce 1 KB", mbps), ahead("records", mbps), ahead("100 partitions", mbps),
	level("fetch 1 MB"), level("consume"),
}

// over is what validating compressed records costs: the CPU of a row, per GB of records, less that of plain ones.
func over(row string) func(results) float64 {
	return func(r results) float64 {
		return r.median(row, "cache", figures.recordCPU) - r.median("produce 100 KB", "cache", figures.recordCPU)
	}
}

// ahead wants class disk ahead of Apache Kafka, which acknowledges from the page cache.
func ahead(row string, figure func(figures) float64) goal {
	return goal{"Kafka", row + ", class disk against Apache Kafka, MB/s", []string{row}, of(row, "disk", "kafka", figure), 1, 1, true}
}

// level wants reading no slower than from Apache Kafka.
func level(row string) goal {
	return goal{"Kafka", row + " against Apache Kafka, MB/s", []string{row}, of(row, "cache", "kafka", mbps), 0.95, 1, true}
}
