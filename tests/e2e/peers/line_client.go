// line_client PORT ROOT.pem NAME VERSION: sends each line of its input over TLS and prints each line that comes back.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"os"
)

func main() {
	root, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	version := uint16(tls.VersionTLS13)
	if os.Args[4] == "1.2" {
		version = tls.VersionTLS12
	}
	connection, err := tls.Dial("tcp", "127.0.0.1:"+os.Args[1],
		&tls.Config{RootCAs: pool, ServerName: os.Args[3], MinVersion: version, MaxVersion: version})
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	fmt.Println("connected")

	answers := bufio.NewReader(connection)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if _, err := fmt.Fprintln(connection, lines.Text()); err != nil {
			log.Fatal(err)
		}
		answer, err := answers.ReadString('\n')
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(answer)
	}
}
