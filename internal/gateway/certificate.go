package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// selfSignedName is the file in the data directory that holds the certificate
// and the key which are made when none are configured. They lie in one file,
// so that they are never of two makings.
const selfSignedName = "certificate.pem"

// certificate holds the TLS certificate in force and lets it be read again
// while connections stand. It is safe for concurrent use.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// openCertificate reads the configured PEM files, or the self-signed
// certificate of the data directory, which is made when it is not there.
func openCertificate(certFile, keyFile, data string, names []string, now time.Time) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	if certFile == "" {
		c.certFile = filepath.Join(data, selfSignedName)
		c.keyFile = c.certFile
		if err := ensureSelfSigned(c.certFile, names, now); err != nil {
			return nil, err
		}
	}
	return c, c.reload()
}

// ensureSelfSigned makes the file unless it exists, whole or not at all.
func ensureSelfSigned(name string, names []string, now time.Time) error {
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cert, key, err := selfSigned(names, now)
	if err != nil {
		return fmt.Errorf("self-signed certificate: %w", err)
	}
	temporary := name + ".new"
	if err := os.WriteFile(temporary, append(cert, key...), 0o600); err != nil {
		return fmt.Errorf("self-signed certificate: %w", err)
	}
	if err := os.Rename(temporary, name); err != nil {
		return fmt.Errorf("self-signed certificate: %w", err)
	}
	return nil
}

// reload reads the files again. On an error the certificate in force stays.
func (c *certificate) reload() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s, key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair)
	return nil
}

// config is a server's TLS configuration that always shows the certificate in
// force. TLS 1.2 is the least (RFC 8996 forbids 1.0 and 1.1).
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}
