package kafkabroker

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificateLife is longer than any test, and allows for clocks that differ a little.
const certificateLife = time.Hour

// Authority issues certificates for one run of tests. It is made anew each time and its key is never written to a file.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// NewAuthority makes an authority of its own.
func NewAuthority(name string) (*Authority, error) {
	template := certificate(name)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	return &Authority{parsed, key, block("CERTIFICATE", der)}, nil
}

// Issue writes ca.pem, cert.pem, key.pem, and both.pem (key and certificate, as Kafka's PEM stores want them) into dir. The
// certificate serves as a client's, and as a server's on the loopback address. Files are replaced one by one, whole.
func (a *Authority) Issue(dir, name string) error {
	cert, key, err := a.issue(name)
	if err != nil {
		return fmt.Errorf("issue certificate %s: %w", name, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("issue certificate %s: %w", name, err)
	}
	for file, text := range map[string][]byte{
		"ca.pem": a.pem, "cert.pem": cert, "key.pem": key, "both.pem": bytes.Join([][]byte{key, cert}, nil),
	} {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path+".part", text, 0o600); err != nil {
			return fmt.Errorf("issue certificate %s: %w", name, err)
		}
		if err := os.Rename(path+".part", path); err != nil {
			return fmt.Errorf("issue certificate %s: %w", name, err)
		}
	}
	return nil
}

func (a *Authority) issue(name string) (cert, key []byte, err error) {
	template := certificate(name)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &own.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		return nil, nil, err
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", secret), nil
}

func certificate(name string) *x509.Certificate {
	at := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(at.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: at.Add(-certificateLife), NotAfter: at.Add(certificateLife),
	}
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
