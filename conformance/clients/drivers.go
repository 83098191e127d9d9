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
	"time"

	"github.com/millrace-io/millrace/conformance/process"
)

//go:embed drivers
var driverFiles embed.FS

// driver is a client that runs as a program of its own.
type driver struct {
	command func(dir string) []string
	ready   func() (string, error)
}

// unpacked puts the drivers' files into the user's cache, under a name that their content gives, installs what the
// driver needs there, and returns the folder.
func unpacked(name string, install func(dir string) error) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		hash := sha256.New()
		err = fs.WalkDir(driverFiles, "drivers", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := driverFiles.ReadFile(path)
			fmt.Fprintf(hash, "%s %d\n%s", path, len(b), b)
			return err
		})
		if err != nil {
			return "", err
		}
		root := filepath.Join(cache, "millrace-conformance", "drivers", fmt.Sprintf("%x", hash.Sum(nil)[:8]))
		files := filepath.Join(root, name+"-files")
		done := filepath.Join(root, name+".installed")
		if _, err := os.Stat(done); err == nil {
			return files, nil
		}
		if err := os.RemoveAll(files); err != nil {
			return "", err
		}
		sub, err := fs.Sub(driverFiles, "drivers")
		if err != nil {
			return "", err
		}
		if err := os.CopyFS(files, sub); err != nil {
			return "", err
		}
		if err := install(files); err != nil {
			return "", fmt.Errorf("install %s: %w", name, err)
		}
		return files, os.WriteFile(done, nil, 0o644)
	})
}

func must(out, errOut string, err error) error {
	if err != nil {
		return fmt.Errorf("%w\n%s%s", err, out, errOut)
	}
	return nil
}

func pythonEnv(packages ...string) func(dir string) error {
	return func(dir string) error {
		env := filepath.Join(dir, "env")
		if err := must(process.Run(2*time.Minute, "python3", "-m", "venv", env)); err != nil {
			return err
		}
		return must(process.Run(5*time.Minute, filepath.Join(env, "bin", "pip"), append([]string{"-q", "--disable-pip-version-check", "install"}, packages...)...))
	}
}

func python(name string) func(dir string) []string {
	return func(dir string) []string {
		return []string{filepath.Join(dir, "env", "bin", "python"), filepath.Join(dir, name, "driver.py")}
	}
}

// run runs the driver on its command line.
func (d *driver) run(within time.Duration, args ...string) (string, error) {
	dir, err := d.ready()
	if err != nil {
		return "", err
	}
	command := append(d.command(dir), args...)
	out, errOut, err := process.Run(within, command[0], command[1:]...)
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
