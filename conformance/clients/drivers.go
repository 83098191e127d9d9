package clients

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/process"
)

//go:embed drivers
var driverFiles embed.FS

// within bounds one program: a gigabyte through the slowest of them.
const within = 20 * time.Minute

// driver is a client that runs as a program of its own.
type driver struct {
	// place says where the drivers' files are, and where what this one needs is installed.
	place   func() (files, installed string, err error)
	command func(files, installed string) []string
}

// newDriver makes a driver whose needs, exact versions all of them, stand in the files pins of drivers/. What they
// name is installed once into the user's cache, under a name that their content gives.
func newDriver(name string, pins []string, install func(files, installed string) error, command func(files, installed string) []string) *driver {
	place := func() (files, installed string, err error) {
		if files, err = unpacked(); err != nil {
			return "", "", err
		}
		var wanted []byte
		for _, pin := range pins {
			b, err := driverFiles.ReadFile("drivers/" + pin)
			if err != nil {
				return "", "", err
			}
			wanted = append(wanted, b...)
		}
		if installed, err = cached(name, wanted); err != nil {
			return "", "", err
		}
		done := installed + ".done"
		if _, err := os.Stat(done); err == nil {
			return files, installed, nil
		}
		if err := os.RemoveAll(installed); err != nil {
			return "", "", err
		}
		if err := os.MkdirAll(installed, 0o755); err != nil {
			return "", "", err
		}
		if err := install(files, installed); err != nil {
			return "", "", fmt.Errorf("install %s: %w", name, err)
		}
		return files, installed, os.WriteFile(done, nil, 0o644)
	}
	var once sync.Once
	var files, installed string
	var err error
	return &driver{command: command, place: func() (string, string, error) {
		once.Do(func() { files, installed, err = place() })
		return files, installed, err
	}}
}

// cached is a path in the user's cache for what belongs to the content.
func cached(name string, content []byte) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "millrace-conformance", "drivers", fmt.Sprintf("%s-%x", name, sha256.Sum256(content))[:len(name)+17]), nil
}

// unpacked puts the drivers' files where their programs find them, and returns the folder.
var unpacked = sync.OnceValues(func() (string, error) {
	files, err := fs.Sub(driverFiles, "drivers")
	if err != nil {
		return "", err
	}
	var content []byte
	err = fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, path)
		content = append(append(content, path...), b...)
		return err
	})
	if err != nil {
		return "", err
	}
	dir, err := cached("files", content)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	partial := fmt.Sprintf("%s.%d", dir, os.Getpid())
	if err := os.CopyFS(partial, files); err != nil {
		return "", err
	}
	return dir, os.Rename(partial, dir)
})

func must(out, errOut string, err error) error {
	if err != nil {
		return fmt.Errorf("%w\n%s%s", err, out, errOut)
	}
	return nil
}

// pythonDriver is drivers/NAME/driver.py in an environment of its own, with what its requirements.txt pins.
func pythonDriver(name string) *driver {
	requirements := name + "/requirements.txt"
	return newDriver(name, []string{requirements}, func(files, env string) error {
		if err := must(process.Run(5*time.Minute, "python3", "-m", "venv", env)); err != nil {
			return err
		}
		return must(process.Run(10*time.Minute, filepath.Join(env, "bin", "pip"), "-q", "--disable-pip-version-check", "install", "--no-deps", "-r", filepath.Join(files, requirements)))
	}, func(files, env string) []string {
		return []string{filepath.Join(env, "bin", "python"), "-B", filepath.Join(files, name, "driver.py")}
	})
}

// nodeDriver is drivers/NAME/driver.js with what its package-lock.json pins.
func nodeDriver(name string) *driver {
	pins := []string{name + "/package.json", name + "/package-lock.json"}
	return newDriver(name, pins, func(files, installed string) error {
		if err := os.CopyFS(installed, os.DirFS(filepath.Join(files, name))); err != nil {
			return err
		}
		return must(process.Run(10*time.Minute, "npm", "ci", "--silent", "--no-audit", "--no-fund", "--prefix", installed))
	}, func(files, installed string) []string {
		return []string{"env", "NODE_PATH=" + filepath.Join(installed, "node_modules"), "node", filepath.Join(files, name, "driver.js")}
	})
}

// javaDriver is drivers/java/Driver.java, compiled and run on the class path given.
func javaDriver(classPath func() string) *driver {
	return newDriver("java", []string{"java/Driver.java"}, func(files, classes string) error {
		return must(process.Run(5*time.Minute, "javac", "-cp", classPath(), "-d", classes, filepath.Join(files, "java", "Driver.java")))
	}, func(files, classes string) []string {
		return []string{"java", "-Xmx512m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", classes + ":" + classPath(), "Driver"}
	})
}

// Command is the command line of the driver of aiokafka, confluent-kafka, kafkajs or java, for the tests of other rooms.
func Command(t testing.TB, client string, args ...string) []string {
	t.Helper()
	d := map[string]*driver{"aiokafka": pythonDriver("aiokafka"), "confluent-kafka": pythonDriver("confluent"), "kafkajs": nodeDriver("kafkajs"),
		"java": javaDriver(func() string { return oracle.ClassPath(t, "broker") })}[client]
	if d == nil {
		t.Fatalf("there is no driver of %s", client)
	}
	line, err := d.line(args...)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// line is the driver's command line.
func (d *driver) line(args ...string) ([]string, error) {
	files, installed, err := d.place()
	if err != nil {
		return nil, err
	}
	return append(d.command(files, installed), args...), nil
}

// run runs the driver to its end.
func (d *driver) run(within time.Duration, args ...string) (string, error) {
	line, err := d.line(args...)
	if err != nil {
		return "", err
	}
	out, errOut, err := process.Run(within, line[0], line[1:]...)
	return out, must(out, errOut, err)
}

func (d *driver) write(within time.Duration, addr string, in *input, topics map[string]string) error {
	args := []string{"write", addr, strconv.Itoa(in.partitions), in.file}
	for topic, codec := range topics {
		args = append(args, topic+"="+codec)
	}
	_, err := d.run(within, args...)
	return err
}

func (d *driver) read(within time.Duration, addr string, topics []string, in *input) (map[string][]digest, error) {
	out, err := d.run(within, append([]string{"read", addr, strconv.Itoa(in.partitions)}, topics...)...)
	if err != nil {
		return nil, err
	}
	return parseDigests(out, in.partitions)
}
