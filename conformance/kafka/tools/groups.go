package tools

func consumerGroups(args string) call {
	return call{tool: "kafka-consumer-groups", args: "--bootstrap-server {b} " + args}
}
func groups(args string) call {
	return call{tool: "kafka-groups", args: "--bootstrap-server {b} " + args}
}

// Why outputs are not compared.
const (
	inHashOrder = "Kafka names them in the order of a hash set"
	bothSides   = "both sides' groups are in it"
)

// reset is a reset that is planned and not done.
func reset(args string) call { return consumerGroups("--reset-offsets --dry-run --group {p}g " + args) }

// The scenarios of groups without members; those with members are in groups_test.go.
var groupScenarios = []scenario{
	{name: "reset of offsets", files: map[string]string{
		"one.csv":   "{p}t,0,1\n{p}t,1,99\n",
		"many.csv":  "{p}g,{p}t,0,2\n{p}other,{p}t,1,1\n",
		"wrong.csv": "{p}t,zero,1\n",
		"none.csv":  "{p}h,{p}t,0,2\n",
	}, calls: []call{
		topics("--create --topic {p}t --partitions 3"),
		topics("--create --topic {p}u"),
		produce("a\t1\nb\t2\nc\t3\nd\t4\ne\t5\n", "--reader-property parse.key=true"),
		reset("--topic {p}t --to-latest").unordered(),
		reset("--topic {p}t:0,1 --topic {p}u --to-earliest").unordered(),
		consumerGroups("--reset-offsets --group {p}g --topic {p}t --to-earliest --execute").unordered(),
		consumerGroups("--describe --group {p}g").unordered(),
		consumerGroups("--describe --group {p}g --offsets --verbose").unordered(),
		consumerGroups("--describe --group {p}g --members"),
		consumerGroups("--describe --group {p}g --members --verbose"),
		consumerGroups("--describe --group {p}g --state"),
		consumerGroups("--describe --group {p}g --state --verbose"),
		reset("--all-topics --to-current").unordered(),
		reset("--topic {p}u --to-current"),
		reset("--topic {p}t:1 --to-offset 1"),
		reset("--topic {p}t:0,1,2 --to-offset 99").unordered(),
		reset("--topic {p}t:0 --to-offset -5"),
		reset("--all-topics --shift-by 1").unordered(),
		reset("--topic {p}t:1 --shift-by -7"),
		reset("--topic {p}u --shift-by 1").naming("{p}u-0"),
		reset("--topic {p}t --to-datetime 2020-01-01T00:00:00.000").unordered(),
		reset("--topic {p}t --to-datetime 2020-01-01T00:00:00.000+02:00").unordered(),
		reset("--topic {p}t --to-datetime 2099-01-01T00:00:00.000Z").unordered(),
		reset("--topic {p}t:0 --to-datetime 2020-01-01"),
		reset("--topic {p}t:0 --to-datetime soonT"),
		reset("--topic {p}t --by-duration PT1H").unordered(),
		reset("--topic {p}t:0 --by-duration P1DT2H3M4.5S"),
		reset("--topic {p}t:0 --by-duration 1h"),
		reset("--from-file {dir}/one.csv").unordered(),
		reset("--from-file {dir}/many.csv").unordered(),
		reset("--from-file {dir}/none.csv"),
		reset("--from-file {dir}/wrong.csv").differing(inOwnWords),
		reset("--from-file {dir}/missing.csv"),
		reset("--topic {p}t:0 --to-latest --export"),
		consumerGroups("--reset-offsets --dry-run --group {p}g --group {p}other --topic {p}t:0 --to-latest --export").unordered(),
		consumerGroups("--reset-offsets --dry-run --group {p}g --group {p}other --topic {p}t:0 --to-latest").unordered(),
		reset("--topic {p}nothing --to-latest"),
		reset("--topic {p}nothing:0 --to-latest"),
		reset("--topic {p}t:9 --to-latest"),
		reset("--topic {p}t:x --to-latest").naming("'x'"),
		reset("--topic {p}t:1:2 --to-latest").naming(":1:2"),
		reset("--to-latest").naming("--all-topics"),
		reset("--topic {p}t").naming("to-latest").differing(inHashOrder),
		reset("--topic {p}t --to-latest --to-earliest").naming("to-latest").differing(inHashOrder),
		reset("--topic {p}t --to-latest --execute").naming("execute"),
		consumerGroups("--reset-offsets --topic {p}t --to-latest").naming("group").differing(inHashOrder),

		consumerGroups("--delete-offsets --group {p}g --topic {p}t:1"),
		consumerGroups("--delete-offsets --group {p}g --topic {p}t").unordered(),
		consumerGroups("--delete-offsets --group {p}g --topic {p}nothing"),
		consumerGroups("--delete-offsets --group {p}nothing --topic {p}t:0"),
		consumerGroups("--delete-offsets --group {p}g --topic {p}t:77"),
		consumerGroups("--delete-offsets --group {p}g").naming("topic").differing(inHashOrder),
		consumerGroups("--describe --group {p}g"),
		consumerGroups("--reset-offsets --group {p}h --topic {p}t --to-latest --execute").unordered(),
		consumerGroups("--delete --group {p}h"),
		consumerGroups("--delete --group {p}h"),
		consumerGroups("--describe --group {p}h"),
		consumerGroups("--describe --group {p}h --members"),
		consumerGroups("--describe --group {p}h --state"),
		topics("--delete --topic {p}[tu]"),
	}},
	{name: "groups, options", calls: []call{
		{tool: "kafka-consumer-groups", args: ""},
		{tool: "kafka-consumer-groups", args: "--list"},
		{tool: "kafka-groups", args: ""},
		{tool: "kafka-groups", args: "--list"},
		consumerGroups(""),
		consumerGroups("--list").differing(bothSides),
		consumerGroups("--list --describe --all-groups").naming("--validate-regex"),
		consumerGroups("--nonsense").naming("nonsense"),
		consumerGroups("--list --group").naming("group"),
		consumerGroups("--list --timeout soon"),
		consumerGroups("--list --group g").naming("[list]"),
		consumerGroups("--list --members").naming("members"),
		consumerGroups("--delete --group g --state").naming("state"),
		consumerGroups("--describe --group g --type classic").naming("type"),
		consumerGroups("--list --state nonsense").naming("nonsense").differing(inHashOrder),
		consumerGroups("--list --type share").naming("share").differing(inHashOrder),
		consumerGroups("--list --state stable").unordered(),
		consumerGroups("--describe").naming("[all-groups]").differing(inHashOrder),
		consumerGroups("--describe --group g --all-groups").naming("[all-groups]"),
		consumerGroups("--describe --group g --members --state").naming("[members]"),
		consumerGroups("--describe --group g --state stable").naming("[state]"),
		consumerGroups("--describe --group g --topic t").naming("[topic]"),
		consumerGroups("--delete --group g --topic t").naming("topic-specific"),
		consumerGroups("--validate-regex ab+c"),
		consumerGroups("--validate-regex ab(c"),
		consumerGroups("--validate-regex [a-"),
		consumerGroups("--validate-regex *"),
		groups(""),
		groups("--nonsense").naming("nonsense"),
		groups("--list").differing(bothSides),
		groups("--list --group-type nonsense").naming("group-type"),
		groups("--list --share"),
		groups("--list --protocol nonsense"),
		groups("--list --consumer --share").naming("share"),
		groups("--list --streams --protocol consumer").naming("protocol"),
	}},
}
