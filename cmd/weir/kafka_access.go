package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router/kafkaio"
)

// access is how the brokers of --kafka are reached, as it was written: references are kept. Names are those of Kafka's
// client properties with '-' for '.', after "kafka-".
type access struct {
	protocol   string // in effect: of protocols, also when nothing names one
	mechanism  string
	username   string
	password   string
	ca         string
	cert       string
	key        string
	serverName string
}

// The settings of access.
const (
	keyProtocol   = "kafka-security-protocol"
	keyMechanism  = "kafka-sasl-mechanism"
	keyUsername   = "kafka-sasl-username"
	keyPassword   = "kafka-sasl-password"
	keyCA         = "kafka-ssl-ca-location"
	keyCert       = "kafka-ssl-certificate-location"
	keyKey        = "kafka-ssl-key-location"
	keyServerName = "kafka-ssl-server-name"
)

// Kafka's security protocols.
const (
	protocolPlain     = "PLAINTEXT"
	protocolTLS       = "SSL"
	protocolSASL      = "SASL_PLAINTEXT"
	protocolSASLOnTLS = "SASL_SSL"
)

func protocols() []string {
	return []string{protocolPlain, protocolTLS, protocolSASL, protocolSASLOnTLS}
}

func mechanisms() []string { return []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} }

// accessFlags declares the flags of access.
func accessFlags() *pflag.FlagSet {
	flags := pflag.NewFlagSet("access", pflag.ContinueOnError)
	flags.String(keyProtocol, "", strings.Join(protocols(), ", ")+"; SASL_SSL with credentials, SSL with certificates, else PLAINTEXT")
	flags.String(keyMechanism, "", strings.Join(mechanisms(), ", "))
	flags.String(keyUsername, "", "user of SASL, best as ${env:NAME} or ${file:PATH}")
	flags.String(keyPassword, "", "password of SASL as ${env:NAME} or ${file:PATH}")
	flags.String(keyCA, "", "PEM file of the authorities that brokers' certificates come from; those of the system by default")
	flags.String(keyCert, "", "PEM file of the client certificate")
	flags.String(keyKey, "", "PEM file of the client certificate's key, not encrypted")
	flags.String(keyServerName, "", "name in the brokers' certificates, where it is not the host that is connected to")
	return flags
}

// accessOf reads settings and finds what is wrong with them. What is not said of the protocol is taken to be safe: nothing
// but its name sends credentials without TLS.
func accessOf(value func(key string) string) (access, error) {
	a := access{
		protocol: strings.ToUpper(value(keyProtocol)), mechanism: strings.ToUpper(value(keyMechanism)),
		username: value(keyUsername), password: value(keyPassword),
		ca: value(keyCA), cert: value(keyCert), key: value(keyKey), serverName: value(keyServerName),
	}
	sasl, tls := a.mechanism+a.username+a.password != "", a.ca+a.cert+a.key+a.serverName != ""
	if a.protocol == "" {
		switch {
		case sasl:
			a.protocol = protocolSASLOnTLS
		case tls:
			a.protocol = protocolTLS
		default:
			a.protocol = protocolPlain
		}
	}
	switch {
	case !slices.Contains(protocols(), a.protocol):
		return a, failed(fmt.Sprintf("configuration: %s is %q; want %s", keyProtocol, a.protocol, alternatives(protocols())))
	case tls && !a.encrypted():
		return a, failed(fmt.Sprintf("configuration: %s is %s, but there are settings of TLS", keyProtocol, a.protocol),
			"remove kafka-ssl-..., or say "+protocolTLS+" or "+protocolSASLOnTLS)
	case sasl && !a.identified():
		return a, failed(fmt.Sprintf("configuration: %s is %s, but there are credentials", keyProtocol, a.protocol),
			"remove kafka-sasl-..., or say "+protocolSASLOnTLS)
	case (a.cert == "") != (a.key == ""):
		return a, failed("configuration: one of "+keyCert+" and "+keyKey+" is missing", "set both, or neither")
	}
	return a, a.checkCredentials()
}

func (a *access) checkCredentials() error {
	if !a.identified() {
		return nil
	}
	switch {
	case !slices.Contains(mechanisms(), a.mechanism):
		return failed(fmt.Sprintf("configuration: %s is %q; want %s", keyMechanism, a.mechanism, alternatives(mechanisms())))
	case a.username == "":
		return failed("configuration: " + keyUsername + " is missing")
	case a.password == "":
		return failed("configuration: "+keyPassword+" is missing", "write ${env:NAME} or ${file:PATH}, or set "+variable(keyPassword))
	case !refers(a.password):
		return failed("configuration: "+keyPassword+" stands in clear, where others can read it",
			"write ${env:NAME} or ${file:PATH}, or set "+variable(keyPassword))
	}
	return nil
}

// alternatives is a list for people.
func alternatives(words []string) string {
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// variable is the environment variable of a setting.
func variable(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

// refers says whether a value is a reference and nothing else.
func refers(value string) bool {
	return (strings.HasPrefix(value, "${env:") || strings.HasPrefix(value, "${file:")) && strings.HasSuffix(value, "}")
}

// fromEnvironment is the value of a setting as a variable gives it. Credentials become references to their variable, so
// that they are looked up when a connection is made, and are in nothing that may be stored or printed.
func fromEnvironment(key, value string) string {
	if (key == keyPassword || key == keyUsername) && value != "" && !refers(value) {
		return "${env:" + variable(key) + "}"
	}
	return value
}

func (a *access) encrypted() bool  { return strings.HasSuffix(a.protocol, protocolTLS) }
func (a *access) identified() bool { return strings.HasPrefix(a.protocol, "SASL") }

// addTo adds the settings that were made to those that are printed.
func (a *access) addTo(values map[string]any) {
	for key, value := range map[string]string{
		keyProtocol: a.protocol, keyMechanism: a.mechanism, keyUsername: a.username, keyPassword: a.password,
		keyCA: a.ca, keyCert: a.cert, keyKey: a.key, keyServerName: a.serverName,
	} {
		if value != "" {
			values[key] = value
		}
	}
}

// cluster is the brokers at address with this access. References in file names are replaced, credentials stay
// references; that they can be looked up is found out here, and not by the first connection.
func (s *shell) cluster(address string, a access) (functions.Cluster, error) {
	c := functions.Cluster{Address: address}
	for _, field := range []*string{&a.ca, &a.cert, &a.key, &a.serverName} {
		value, err := s.secret(*field)
		if err != nil {
			return c, fmt.Errorf("configuration: %w", err)
		}
		*field = value
	}
	for _, file := range []*string{&a.ca, &a.cert, &a.key} {
		if *file != "" {
			*file = s.path(*file)
		}
	}
	if a.encrypted() {
		c.TLS = &functions.TLS{CA: a.ca, Cert: a.cert, Key: a.key, ServerName: a.serverName}
	}
	if a.identified() {
		for _, ref := range []string{a.username, a.password} {
			if _, err := s.secret(ref); err != nil {
				return c, fmt.Errorf("configuration: %w", err)
			}
		}
		c.SASL = &functions.SASL{Mechanism: a.mechanism, Username: a.username, Password: a.password}
	}
	return c, nil
}

// secret resolves references in the environment and the files of the shell.
func (s *shell) secret(ref string) (string, error) {
	return functions.ResolveSecret(ref, func(scheme, name string) (string, error) {
		if scheme != "env" {
			return functions.FromHost(s.dir)(scheme, name)
		}
		value, ok := s.lookup(name)
		if !ok {
			return "", fmt.Errorf("environment variable %s is not set", name)
		}
		return value, nil
	})
}

// remedy is what to do about a broker that does not fit, in the words of settings: those of the command line by default.
func remedy(m kafkaio.Misfit) string {
	switch m {
	case kafkaio.Untrusted:
		return "--" + keyCA + " names the PEM file of the authority that the broker's certificate comes from"
	case kafkaio.WrongName:
		return "connect to a name that is in the certificate, or give that name with --" + keyServerName
	case kafkaio.NotValid:
		return "renew the broker's certificate, and look at the clocks of both machines"
	case kafkaio.NoTLS, kafkaio.Silent:
		return "connect to the broker's TLS port, or say --" + keyProtocol + " " + protocolPlain + " (" + protocolSASL + " with credentials)"
	case kafkaio.ClientRefused:
		return "--" + keyCert + " and --" + keyKey + " name a certificate of an authority that the broker trusts"
	case kafkaio.WantsTLS:
		return "say --" + keyProtocol + " " + protocolTLS + " (" + protocolSASLOnTLS + " with credentials), and --" + keyCA
	case kafkaio.WantsSASL:
		return "give --" + keyMechanism + ", --" + keyUsername + " and --" + keyPassword
	case kafkaio.WrongPassword:
		return "look at --" + keyMechanism + ", and at what --" + keyUsername + " and --" + keyPassword + " stand for"
	case kafkaio.NoMechanism:
		return "choose another --" + keyMechanism + ", or a port of the broker with SASL"
	}
	panic(fmt.Sprintf("weir: no such misfit: %d", m))
}
