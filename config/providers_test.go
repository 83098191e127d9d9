package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	fileClass = "org.apache.kafka.common.config.provider.FileConfigProvider"
	dirClass  = "org.apache.kafka.common.config.provider.DirectoryConfigProvider"
	envClass  = "org.apache.kafka.common.config.provider.EnvVarConfigProvider"
)

// secrets are a directory with a file of properties, one of a single secret, and a link to a file elsewhere.
func secrets(t *testing.T) (dir, outside string) {
	dir, outside = t.TempDir(), filepath.Join(t.TempDir(), "outside")
	for name, text := range map[string]string{filepath.Join(dir, "keys.properties"): "user=ada\npassword=s3 cr${et}:\n", filepath.Join(dir, "pin"): "1234\n", outside: "user=eve\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir, outside
}

func providers(dir string, more ...string) Properties {
	return PropertiesOf(append([]string{"config.providers", "file, dir,env", "config.providers.file.class", fileClass, "config.providers.dir.class", dirClass, "config.providers.env.class", envClass,
		"config.providers.file.param.allowed.paths", dir, "config.providers.env.param.allowlist.pattern", "MILLRACE_.*"}, more...)...)
}

func TestExpand(t *testing.T) {
	dir, _ := secrets(t)
	t.Setenv("MILLRACE_RACK", "r1")
	keys := filepath.Join(dir, "keys.properties")
	for text, want := range map[string]string{
		"${file:" + keys + ":password}":                                         "s3 cr${et}:", // what it stands for is not looked into
		"${file:" + keys + ":user}@${env:MILLRACE_RACK}-${dir:" + dir + ":pin}": "ada@r1-1234\n",
		"${env:MILLRACE_RACK}":                                                  "r1",
		"${vault:x:y}, ${plain}, $HOME, ${":                                     "${vault:x:y}, ${plain}, $HOME, ${", // names no provider
	} {
		p, err := providers(dir, "value", text).Expand()
		if got, _ := p.Get("value"); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", text, got, err, want)
		}
		if p.Len() != 2 {
			t.Errorf("the providers' own settings are left: %v", p.Map())
		}
	}
	if p, err := PropertiesOf("value", "${env:MILLRACE_RACK}").Expand(); err != nil || p.Map()["value"] != "${env:MILLRACE_RACK}" {
		t.Errorf("without a provider: %v, %v", p.Map(), err)
	}
}

func TestExpandSaysWhatIsWrong(t *testing.T) {
	dir, outside := secrets(t)
	t.Setenv("MILLRACE_RACK", "r1")
	keys := filepath.Join(dir, "keys.properties")
	for _, c := range []struct{ text, want string }{
		{"${file:" + keys + ":pasword}", `value has ${file:` + keys + `:pasword}: ` + keys + ` has no key "pasword"; add it there, or correct the variable`},
		{"${file:" + dir + "/none:user}", dir + "/none does not exist"},
		{"${file:user}", "there is no path; it is ${file:PATH:KEY}"},
		{"${file:" + outside + ":user}", "is not below config.providers.file.param.allowed.paths (" + dir + ")"},
		{"${file:" + dir + "/link:user}", "is not below config.providers.file.param.allowed.paths"},
		{"${file:" + dir + "/../" + filepath.Base(filepath.Dir(outside)) + "/outside:user}", "is not below"},
		{"${dir:" + dir + ":none}", dir + "/none does not exist"},
		{"${dir:" + dir + ":../pin}", `"../pin" is not the name of a file`},
		{"${dir:" + filepath.Dir(dir) + ":" + filepath.Base(dir) + "}", "is not a regular file"},
		{"${env:MILLRACE_NONE}", "the environment has no MILLRACE_NONE; set it for this process"},
		{"${env:HOME}", "HOME does not match config.providers.env.param.allowlist.pattern"},
		{"${env:/a:MILLRACE_RACK}", "variables of the environment have no path"},
	} {
		if _, err := providers(dir, "value", c.text).Expand(); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "value has "+c.text) {
			t.Errorf("%s:\n  said %v\n  want %s", c.text, err, c.want)
		}
	}
	for _, c := range []struct{ key, value, want string }{
		{"config.providers", "file,vault", "config.providers has vault, but config.providers.vault.class is not set; it is FileConfigProvider"},
		{"config.providers.env.class", "com.example.VaultProvider", "config.providers.env.class is com.example.VaultProvider, which is not known here"},
		{"config.providers.env.param.allowlist.pattern", "(", "config.providers.env.param.allowlist.pattern is not a regular expression"},
		{"config.providers.file.param.allowed.paths", "secrets", `has "secrets", which is not an absolute path`},
	} {
		if _, err := providers(dir, c.key, c.value).Expand(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%s:\n  said %v\n  want %s", c.key, c.value, err, c.want)
		}
	}
	p, err := ParseProperties(strings.NewReader("config.providers=env\nconfig.providers.env.class=" + envClass + "\nvalue=${env:MILLRACE_NONE}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Expand(); err == nil || !strings.HasPrefix(err.Error(), "line 3: value has ${env:MILLRACE_NONE}: ") {
		t.Errorf("said %v", err)
	}
}
