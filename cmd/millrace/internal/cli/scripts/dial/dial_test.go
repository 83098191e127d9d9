package dial

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBootstrap(t *testing.T) {
	for value, want := range map[string]string{
		"":                "127.0.0.1:9092",
		"a:1":             "a:1",
		" a:1 , b:2,":     "a:1 b:2",
		"PLAINTEXT://a:1": "a:1",
		"[::1]:9092":      "[::1]:9092",
		"a":               `the bootstrap server "a" is not HOST:PORT`,
		"a:b":             `the bootstrap server "a:b" is not HOST:PORT`,
		"a:70000":         `the bootstrap server "a:70000" is not HOST:PORT`,
		":1":              `the bootstrap server ":1" is not HOST:PORT`,
		",":               "it is a list of HOST:PORT",
	} {
		servers, err := Properties{"bootstrap.servers": value}.Bootstrap()
		got := strings.Join(servers, " ")
		if err != nil {
			got = err.Error()
		}
		if got != want && !(err != nil && strings.Contains(got, want)) {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

// Secrets may stand in the environment (KIP-421).
func TestLoadExpandsVariables(t *testing.T) {
	file := filepath.Join(t.TempDir(), "client.properties")
	text := "config.providers=env\nconfig.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider\nsasl.jaas.config=${env:MILLRACE_TEST_PIN}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file, ""); err == nil || !strings.HasPrefix(err.Error(), file+": line 3: sasl.jaas.config has ${env:MILLRACE_TEST_PIN}: the environment has no MILLRACE_TEST_PIN") {
		t.Errorf("said %v", err)
	}
	t.Setenv("MILLRACE_TEST_PIN", "1234")
	p, err := Load(file, "")
	if err != nil || p["sasl.jaas.config"] != "1234" {
		t.Errorf("got %v, %v", p, err)
	}
	if unknown, err := p.Check(); len(unknown) > 0 || err != nil {
		t.Errorf("the list of providers is a slip: %v, %v", unknown, err)
	}
}

// What is given on the command line is looked up as what stands in the file, by the providers of either.
func TestVariablesOfTheCommandLine(t *testing.T) {
	t.Setenv("MILLRACE_TEST_PIN", "1234")
	file := filepath.Join(t.TempDir(), "client.properties")
	if err := os.WriteFile(file, []byte("config.providers=e\nconfig.providers.e.class=EnvVarConfigProvider\nsasl.username=${e:HOME}\nclient.id=${late:MILLRACE_TEST_PIN}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := LoadUnder(file, map[string]string{"sasl.password": "${e:MILLRACE_TEST_PIN}", "sasl.username": "me"})
	if err != nil || p["sasl.password"] != "1234" || p["sasl.username"] != "me" || p["client.id"] != "${late:MILLRACE_TEST_PIN}" {
		t.Errorf("by the file's: %v, %v", p, err)
	}
	p, err = LoadUnder(file, map[string]string{"config.providers": "late", "config.providers.late.class": "EnvVarConfigProvider"})
	if err != nil || p["client.id"] != "1234" || p["sasl.username"] != "${e:HOME}" || len(p) != 2 {
		t.Errorf("by the command line's: %v, %v", p, err)
	}
	if p, err = LoadUnder("", map[string]string{"sasl.password": "${e:X}"}); err != nil || p["sasl.password"] != "${e:X}" {
		t.Errorf("by none: %v, %v", p, err)
	}
	if _, err = LoadUnder(file, map[string]string{"sasl.password": "${e:MILLRACE_NO_SUCH}"}); err == nil || !strings.Contains(err.Error(), "sasl.password has ${e:MILLRACE_NO_SUCH}") {
		t.Errorf("of nothing: %v", err)
	}
}

func TestCheckFindsSlips(t *testing.T) {
	meaningless, err := Properties{"acks": "all", "batch.size": "1", "key.serializer": "x", "schema.registry.url": "y"}.Check()
	if got := strings.Join(meaningless, " "); got != "batch.size key.serializer schema.registry.url" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for key, near := range map[string]string{"sasl.mechanisms": "sasl.mechanism", "security_protocol": "security.protocol", "ssl.trustore.location": "ssl.truststore.location", "Acks": "acks"} {
		if _, err := (Properties{key: "x"}).Check(); err == nil || !strings.HasSuffix(err.Error(), "did you mean "+near+"?") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestJAAS(t *testing.T) {
	for text, want := range map[string]string{
		`org.x.PlainLoginModule required username="ada" password="s e;cret";`:  "ada/s e;cret",
		"org.x.PlainLoginModule  required\n username='ada'\n password=plain ;": "ada/plain",
		`M required username="a\"b" password="";`:                              `a"b/`,
		``:                         "SASL needs sasl.jaas.config",
		`M required username="ada`: "a quote that is not closed",
		`M required username`:      `has "username", which is not key=value`,
	} {
		options, err := parseJAAS(text)
		got := options["username"] + "/" + options["password"]
		if err != nil {
			got = err.Error()
		}
		if got != want && !(err != nil && strings.Contains(got, want)) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestWhatCannotBe(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	os.WriteFile(empty, []byte("nothing\n"), 0o644)
	jaas := `M required username="ada" password="x";`
	for _, c := range []struct {
		want string
		p    Properties
	}{
		{"security.protocol is", Properties{"security.protocol": "TLS"}},
		{"sasl.mechanism is GSSAPI; this client speaks PLAIN", Properties{"security.protocol": "SASL_PLAINTEXT", "sasl.jaas.config": jaas}},
		{"names no username", Properties{"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.jaas.config": "M required;"}},
		{"ssl.truststore.type is JKS, which only Java reads; convert the store", Properties{"security.protocol": "SSL", "ssl.truststore.location": "x.jks"}},
		{"holds no PEM certificate", Properties{"security.protocol": "SSL", "ssl.truststore.type": "PEM", "ssl.truststore.location": empty}},
		{"the key store of ssl.keystore.*", Properties{"security.protocol": "SSL", "ssl.keystore.certificate.chain": "nothing"}},
		{"request.timeout.ms is", Properties{"request.timeout.ms": "soon"}},
	} {
		if _, err := c.p.Options(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.p, err, c.want)
		}
	}
	for want, p := range map[string]Properties{
		"acks is":             {"acks": "2"},
		"compression.type is": {"compression.type": "zip"},
		"linger.ms is":        {"linger.ms": "-1"},
		"retries is":          {"retries": "many"},
	} {
		if _, err := p.Producer(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", p, err)
		}
	}
	for want, p := range map[string]Properties{
		"isolation.level is":   {"isolation.level": "x"},
		"auto.offset.reset is": {"auto.offset.reset": "x"},
		"fetch.max.bytes is":   {"fetch.max.bytes": "x"},
		"fetch.max.wait.ms is": {"fetch.max.wait.ms": "x"},
		"no ISO 8601 duration": {"auto.offset.reset": "by_duration:P"},
	} {
		if _, err := p.Consumer(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", p, err)
		}
	}
}

func TestISODurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"PT30S": 30 * time.Second, "P1DT2H": 26 * time.Hour, "PT1.5S": 1500 * time.Millisecond, "PT5M": 5 * time.Minute} {
		if got, err := ISODuration(text); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "P", "PT", "1h", "P1H"} {
		if got, err := ISODuration(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
