package dial

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// security translates security.protocol and the ssl.* and sasl.* keys.
func (p Properties) security() ([]kgo.Opt, error) {
	protocol := strings.ToUpper(p.or("security.protocol", "PLAINTEXT"))
	var options []kgo.Opt
	switch protocol {
	case "PLAINTEXT", "SASL_PLAINTEXT":
	case "SSL", "SASL_SSL":
		c, err := p.tls()
		if err != nil {
			return nil, err
		}
		dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: c}
		options = append(options, kgo.Dialer(dialer.DialContext))
	default:
		return nil, fmt.Errorf("security.protocol is %q; it is one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL", p["security.protocol"])
	}
	if strings.HasPrefix(protocol, "SASL_") {
		mechanism, err := p.sasl()
		if err != nil {
			return nil, err
		}
		options = append(options, kgo.SASL(mechanism))
	}
	return options, nil
}

// tls reads the PEM forms of Kafka's ssl.* keys (KIP-651). Java's own key stores need Java to read them, so
// they are refused with the command that converts them.
func (p Properties) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}

	roots, err := p.pem("ssl.truststore", "ssl.truststore.certificates")
	if err != nil {
		return nil, err
	}
	if roots != nil {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(roots) {
			return nil, fmt.Errorf("the trust store of ssl.truststore.* holds no PEM certificate")
		}
	}

	chain, err := p.pem("ssl.keystore", "ssl.keystore.certificate.chain")
	if err != nil {
		return nil, err
	}
	if chain != nil {
		key := []byte(p["ssl.keystore.key"])
		if len(key) == 0 { // a PEM file holds the key beside the chain
			key = chain
		}
		for block, rest := pem.Decode(key); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == "ENCRYPTED PRIVATE KEY" {
				return nil, fmt.Errorf("the private key of ssl.keystore.* is encrypted; write it in the clear with `openssl pkcs8 -in KEY -out KEY.pem` and protect the file instead")
			}
		}
		certificate, err := tls.X509KeyPair(chain, key)
		if err != nil {
			return nil, fmt.Errorf("the key store of ssl.keystore.*: %w", err)
		}
		c.Certificates = []tls.Certificate{certificate}
	}

	// An empty algorithm means: check the chain, but not that it names the host.
	if algorithm, given := p["ssl.endpoint.identification.algorithm"]; given && algorithm == "" {
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(s tls.ConnectionState) error {
			o := x509.VerifyOptions{Roots: c.RootCAs, Intermediates: x509.NewCertPool()}
			for _, intermediate := range s.PeerCertificates[1:] {
				o.Intermediates.AddCert(intermediate)
			}
			_, err := s.PeerCertificates[0].Verify(o)
			return err
		}
	}
	return c, nil
}

// pem returns the PEM text of a store: inline, or the file at store.location.
func (p Properties) pem(store, inline string) ([]byte, error) {
	if text := p[inline]; text != "" {
		return []byte(text), nil
	}
	location := p[store+".location"]
	if location == "" {
		return nil, nil
	}
	if kind := strings.ToUpper(p.or(store+".type", "JKS")); kind != "PEM" {
		return nil, fmt.Errorf("%s.type is %s, which only Java reads; convert the store with `keytool -importkeystore -srckeystore %s -destkeystore store.p12 -deststoretype PKCS12` and `openssl pkcs12 -in store.p12 -nodes -out store.pem`, then set %s.type=PEM", store, kind, location, store)
	}
	return os.ReadFile(location)
}

// sasl reads sasl.mechanism and sasl.jaas.config.
func (p Properties) sasl() (sasl.Mechanism, error) {
	options, err := parseJAAS(p["sasl.jaas.config"])
	if err != nil {
		return nil, err
	}
	user, password := options["username"], options["password"]
	mechanism := strings.ToUpper(p.or("sasl.mechanism", "GSSAPI")) // Kafka's default
	switch mechanism {
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		if user == "" {
			return nil, fmt.Errorf("sasl.jaas.config names no username; it looks like: org.apache.kafka.common.security.plain.PlainLoginModule required username=\"…\" password=\"…\";")
		}
	}
	switch mechanism {
	case "PLAIN":
		return plain.Auth{User: user, Pass: password}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: password, IsToken: options["tokenauth"] == "true"}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: password, IsToken: options["tokenauth"] == "true"}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("sasl.mechanism is %s; this client speaks PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512", mechanism)
}

// parseJAAS reads the options of the one login module in a sasl.jaas.config:
//
//	org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="a\"b";
func parseJAAS(s string) (map[string]string, error) {
	const shape = `it looks like: LoginModule required username="…" password="…";`
	var words []string
	var word strings.Builder
	started := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\'':
			started = true
			for i++; ; i++ {
				if i >= len(s) {
					return nil, fmt.Errorf("sasl.jaas.config has a quote that is not closed; %s", shape)
				}
				if s[i] == c {
					break
				}
				if s[i] == '\\' && i+1 < len(s) {
					i++
				}
				word.WriteByte(s[i])
			}
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ';':
			if started {
				words = append(words, word.String())
				word.Reset()
				started = false
			}
		default:
			started = true
			word.WriteByte(c)
		}
	}
	if started {
		words = append(words, word.String())
	}
	if len(words) < 2 {
		return nil, fmt.Errorf("SASL needs sasl.jaas.config; %s", shape)
	}
	options := make(map[string]string)
	for _, w := range words[2:] {
		key, value, ok := strings.Cut(w, "=")
		if !ok {
			return nil, fmt.Errorf("sasl.jaas.config has %q, which is not key=value; %s", w, shape)
		}
		options[key] = value
	}
	return options, nil
}
