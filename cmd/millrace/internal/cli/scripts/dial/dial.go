// Package dial owns how a command reaches a cluster: the Kafka client properties it was given, the security
// they ask for, and what is said when nobody answers.
package dial

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/config"
)

// DefaultBootstrap is where a command looks for a cluster that it was told nothing about: where `millrace up`
// listens.
const DefaultBootstrap = "127.0.0.1:9092"

// Properties are Kafka client properties, such as bootstrap.servers and security.protocol.
type Properties map[string]string

// Load reads the properties file of --command-config; an empty name is no file. A bootstrap address that is
// not empty replaces the file's.
func Load(file, bootstrap string) (Properties, error) {
	p, err := LoadUnder(file, nil)
	if err == nil && bootstrap != "" {
		p["bootstrap.servers"] = bootstrap
	}
	return p, err
}

// LoadUnder is Load with properties of the command line, which replace those of the file. Variables may stand in both, and
// so may what says where they are looked up (KIP-421).
func LoadUnder(file string, above map[string]string) (Properties, error) {
	var p config.Properties
	from := "" // where an error comes from
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if p, err = config.ParseProperties(f); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		from = file + ": "
	}
	for _, key := range slices.Sorted(maps.Keys(above)) {
		p.Set(key, above[key])
	}
	p, err := p.Expand()
	if err != nil {
		return nil, fmt.Errorf("%s%w", from, err)
	}
	expanded := p.Map()
	delete(expanded, config.ProvidersKey) // it has done its work
	return expanded, nil
}

// Bootstrap returns the addresses of bootstrap.servers as host:port.
func (p Properties) Bootstrap() ([]string, error) {
	value := p["bootstrap.servers"]
	if value == "" {
		value = DefaultBootstrap
	}
	var servers []string
	for server := range strings.SplitSeq(value, ",") {
		server = strings.TrimSpace(server)
		if server == "" {
			continue
		}
		if _, after, named := strings.Cut(server, "://"); named { // Kafka takes PROTOCOL://host:port as well
			server = after
		}
		host, port, err := net.SplitHostPort(server)
		if n, portErr := strconv.Atoi(port); err != nil || portErr != nil || host == "" || n < 1 || n > 65535 {
			return nil, fmt.Errorf("the bootstrap server %q is not HOST:PORT, such as %s", server, DefaultBootstrap)
		}
		servers = append(servers, server)
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("bootstrap.servers is %q; it is a list of HOST:PORT", value)
	}
	return servers, nil
}

// Options translates the properties that mean something to every client. Keys of serializers, metrics and the
// like mean nothing here and are passed over, as one file often serves many programs.
func (p Properties) Options() ([]kgo.Opt, error) {
	servers, err := p.Bootstrap()
	if err != nil {
		return nil, err
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(servers...),
		kgo.ClientID(p.or("client.id", "millrace")),
		kgo.SoftwareNameAndVersion("millrace", "1"),
		// A topic that was created a moment ago is looked for again soon.
		kgo.MetadataMinAge(100 * time.Millisecond),
		// Kafka's own defaults of retry.backoff.ms and retry.backoff.max.ms.
		kgo.RetryBackoffFn(func(failures int) time.Duration {
			return min(100*time.Millisecond<<min(max(failures-1, 0), 4), time.Second)
		}),
	}
	if rack := p["client.rack"]; rack != "" {
		options = append(options, kgo.Rack(rack))
	}
	for key, option := range map[string]func(time.Duration) kgo.Opt{
		"request.timeout.ms":     kgo.RequestTimeoutOverhead,
		"metadata.max.age.ms":    kgo.MetadataMaxAge,
		"default.api.timeout.ms": kgo.RetryTimeout,
		"retry.backoff.ms": func(d time.Duration) kgo.Opt {
			return kgo.RetryBackoffFn(func(int) time.Duration { return d })
		},
		"connections.max.idle.ms": kgo.ConnIdleTimeout,
	} {
		d, given, err := p.Milliseconds(key)
		if err != nil {
			return nil, err
		}
		if given && d > 0 {
			options = append(options, option(d))
		}
	}
	security, err := p.security()
	if err != nil {
		return nil, err
	}
	return append(options, security...), nil
}

// Milliseconds reads a property that is a duration.
func (p Properties) Milliseconds(key string) (d time.Duration, given bool, err error) {
	value, given := p[key]
	if !given {
		return 0, false, nil
	}
	ms, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err != nil || ms < 0 || ms > int64(1<<63-1)/int64(time.Millisecond) {
		return 0, true, fmt.Errorf("%s is %q; it is a number of milliseconds", key, value)
	}
	return time.Duration(ms) * time.Millisecond, true, nil
}

func (p Properties) or(key, otherwise string) string {
	if v := p[key]; v != "" {
		return v
	}
	return otherwise
}

// reachTimeout bounds how long a command tries to reach a first broker. A refused connection is known at once;
// this is for addresses that swallow packets.
const reachTimeout = 10 * time.Second

// Open makes a client and sees that some broker answers it, so that a wrong address is told in one sentence
// rather than by a long silence. The caller closes the client.
func Open(ctx context.Context, p Properties, more ...kgo.Opt) (*kgo.Client, error) {
	options, err := p.Options()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(options, more...)...)
	if err != nil {
		return nil, err
	}
	reach, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if err := client.Ping(reach); err != nil {
		client.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, p.unreachable(err)
	}
	return client, nil
}

// unreachable says that no broker answered, and what to do about it.
func (p Properties) unreachable(err error) error {
	servers, _ := p.Bootstrap()
	where := strings.Join(servers, ", ")
	var refused *kerr.Error
	if errors.As(err, &refused) { // a broker did answer, and said no
		return fmt.Errorf("the broker at %s turned the client away: %w", where, Explain(err))
	}
	reason := err.Error()
	if network, ok := errors.AsType[*net.OpError](err); ok && network.Err != nil {
		reason = strings.TrimPrefix(network.Err.Error(), "connect: ")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		reason = fmt.Sprintf("nothing within %v", reachTimeout)
	}
	if _, closed := errors.AsType[*kgo.ErrFirstReadEOF](err); closed {
		return &Unreachable{Servers: servers, Cause: err, sentence: fmt.Sprintf(
			"what listens on %s closes the connection at once: it may be a controller listener (--bootstrap-controller), or want TLS or SASL (security.protocol in --command-config)", where)}
	}
	return &Unreachable{Servers: servers, Cause: err, sentence: fmt.Sprintf(
		"no broker answers on %s (%s): is it running? start one with `millrace up`, or say where it is with --bootstrap-server", where, reason)}
}

// Unreachable is the error of Open when no broker answered.
type Unreachable struct {
	Servers  []string
	Cause    error
	sentence string
}

func (u *Unreachable) Error() string { return u.sentence }
func (u *Unreachable) Unwrap() error { return u.Cause }

// Explain turns a broker's error into what people read: the broker's own message where it sent one, otherwise
// what the code means. Other errors are left as they are.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	var code *kerr.Error
	if !errors.As(err, &code) {
		return err
	}
	text := code.Description
	var detailed *kadm.ErrAndMessage
	if errors.As(err, &detailed) && detailed.ErrMessage != "" {
		text = detailed.ErrMessage
	}
	return &explained{text: text, err: err}
}

type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

// Code returns the error of an error code and the message that came with it, and nil for code 0.
func Code(code int16, message *string) error {
	err := kerr.ErrorForCode(code)
	if err == nil {
		return nil
	}
	if message != nil && *message != "" {
		return Explain(&kadm.ErrAndMessage{Err: err, ErrMessage: *message})
	}
	return Explain(err)
}

// Unsupported reports whether a request failed because the broker does not know it or not in a version that
// the client speaks.
func Unsupported(err error) bool {
	if err == nil {
		return false
	}
	// The client sees this from ApiVersions before it sends anything, and has no exported error for it.
	return errors.Is(err, kerr.UnsupportedVersion) || strings.Contains(err.Error(), "broker is too old") || strings.Contains(err.Error(), "request key is unknown")
}
