package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A value may stand elsewhere than in the properties themselves, a password above all (KIP-297, KIP-421):
//
//	config.providers=env,secrets
//	config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider
//	config.providers.env.param.allowlist.pattern=MILLRACE_.*
//	config.providers.secrets.class=org.apache.kafka.common.config.provider.FileConfigProvider
//	config.providers.secrets.param.allowed.paths=/run/secrets
//	ssl.key.password=${secrets:/run/secrets/keys.properties:password}     of a properties file, under a key
//	broker.rack=${env:MILLRACE_RACK}                                      of the environment (KIP-887)
//	                                                                      and, with DirectoryConfigProvider,
//	                                                                      ${dir:/run/secrets:password}: a whole file (KIP-632)
//
// What a variable stands for is not looked into for further ones. Where Kafka leaves a variable that stands for nothing as it
// is written, and goes on with that for a password, it is an error here; what names no provider is text, as in Kafka.

// ProvidersKey is the key that lists the providers by the names that variables use.
const ProvidersKey = "config.providers"

// variable is ${provider:key} or ${provider:path:key}, in Kafka's own reading.
var variable = regexp.MustCompile(`\$\{([^}]*?):(([^}]*?):)?([^}]*?)\}`)

// provider looks up a key under a path. Its errors are sentences that follow the variable.
type provider func(path, key string) (string, error)

// Expand puts what they stand for in the place of all variables. The settings of providers themselves are taken out, but for
// their list.
func (p Properties) Expand() (Properties, error) {
	list, ok := p.Get(ProvidersKey)
	if !ok {
		return p, nil
	}
	providers := make(map[string]provider)
	for _, name := range ParseList(list) {
		made, err := p.provider(name)
		if err != nil {
			return p, err
		}
		providers[name] = made
	}
	var expanded Properties
	for _, property := range p.list {
		if strings.HasPrefix(property.Key, ProvidersKey+".") {
			continue
		}
		var err error
		property.Value = variable.ReplaceAllStringFunc(property.Value, func(text string) string {
			parts := variable.FindStringSubmatch(text)
			look, ok := providers[parts[1]]
			if !ok || err != nil {
				return text
			}
			var value string
			if value, err = look(parts[3], parts[4]); err != nil {
				err = fmt.Errorf("%s has %s: %w", property.Key, text, err)
			}
			return value
		})
		if err != nil {
			if property.Line > 0 {
				err = fmt.Errorf("line %d: %w", property.Line, err)
			}
			return p, err
		}
		expanded.put(property)
	}
	return expanded, nil
}

// provider makes the provider of a name from its settings.
func (p Properties) provider(name string) (provider, error) {
	class, _ := p.Get(ProvidersKey + "." + name + ".class")
	param := func(key string) string {
		value, _ := p.Get(ProvidersKey + "." + name + ".param." + key)
		return trim(value)
	}
	var allowed []string
	if list := param("allowed.paths"); list != "" {
		for _, path := range ParseList(list) {
			if !filepath.IsAbs(path) {
				return nil, fmt.Errorf("%s.%s.param.allowed.paths has %q, which is not an absolute path", ProvidersKey, name, path)
			}
			allowed = append(allowed, filepath.Clean(path))
		}
	}
	switch last := class[strings.LastIndexByte(class, '.')+1:]; last {
	case "FileConfigProvider":
		return within(name, allowed, fromFile), nil
	case "DirectoryConfigProvider":
		return within(name, allowed, fromDirectory), nil
	case "EnvVarConfigProvider":
		pattern, err := regexp.Compile("^(?:" + param("allowlist.pattern") + ")$")
		if err != nil {
			return nil, fmt.Errorf("%s.%s.param.allowlist.pattern is not a regular expression: %w", ProvidersKey, name, err)
		}
		if param("allowlist.pattern") == "" {
			pattern = regexp.MustCompile("")
		}
		return fromEnvironment(name, pattern), nil
	case "":
		return nil, fmt.Errorf("%s has %s, but %[1]s.%[2]s.class is not set; it is FileConfigProvider, DirectoryConfigProvider or EnvVarConfigProvider", ProvidersKey, name)
	}
	return nil, fmt.Errorf("%s.%s.class is %s, which is not known here; FileConfigProvider, DirectoryConfigProvider and EnvVarConfigProvider are", ProvidersKey, name, class)
}

// within holds a provider to paths that are allowed, and to those below them; all are when none is named (KIP-993). Where a path
// leads to by symbolic links is what counts.
func within(name string, allowed []string, look provider) provider {
	return func(path, key string) (string, error) {
		if path == "" {
			return "", fmt.Errorf("there is no path; it is ${%s:PATH:KEY}", name)
		}
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return "", unreadable(path, err)
		}
		if real, err = filepath.Abs(real); err != nil {
			return "", unreadable(path, err)
		}
		if len(allowed) > 0 && !slices.ContainsFunc(allowed, func(root string) bool {
			if r, err := filepath.EvalSymlinks(root); err == nil {
				root = r
			}
			below, err := filepath.Rel(root, real)
			return err == nil && filepath.IsLocal(below)
		}) {
			return "", fmt.Errorf("%s is not below %s.%s.param.allowed.paths (%s)", real, ProvidersKey, name, strings.Join(allowed, ", "))
		}
		return look(real, key)
	}
}

func fromFile(path, key string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", unreadable(path, err)
	}
	defer f.Close()
	p, err := ParseProperties(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	value, ok := p.Get(key)
	if !ok {
		return "", fmt.Errorf("%s has no key %q; add it there, or correct the variable", path, key)
	}
	return value, nil
}

// fromDirectory reads the file that is called as the key. It is at home in the directory: no key leads out of it, but by a link,
// as secrets of Kubernetes are.
func fromDirectory(path, key string) (string, error) {
	if !filepath.IsLocal(key) || key != filepath.Base(key) {
		return "", fmt.Errorf("%q is not the name of a file", key)
	}
	name := filepath.Join(path, key)
	if info, err := os.Stat(name); err != nil {
		return "", unreadable(name, err)
	} else if !info.Mode().IsRegular() || info.Size() > maxProperties {
		return "", fmt.Errorf("%s is not a regular file of at most %d bytes", name, maxProperties)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", unreadable(name, err)
	}
	return string(text), nil
}

func fromEnvironment(name string, allowed *regexp.Regexp) provider {
	return func(path, key string) (string, error) {
		if path != "" {
			return "", fmt.Errorf("variables of the environment have no path; it is ${%s:NAME}", name)
		}
		if !allowed.MatchString(key) {
			return "", fmt.Errorf("%s does not match %s.%s.param.allowlist.pattern", key, ProvidersKey, name)
		}
		value, ok := os.LookupEnv(key)
		if !ok {
			return "", fmt.Errorf("the environment has no %s; set it for this process", key)
		}
		return value, nil
	}
}

// unreadable says why a file cannot be read, and what to do.
func unreadable(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s does not exist", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be read by this user", path)
	}
	return fmt.Errorf("cannot read %s: %w", path, err)
}
