// The client of client.c with Go's crypto/tls, which can send neither a KeyUpdate nor a renegotiation of its own. The same
// arguments, orders and answers.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	period   = 251
	chunk    = 16384
	ahead    = 512 << 10
	patience = 30 * time.Second
)

var pattern [period + 65536]byte

func fail(why any) {
	fmt.Println("failed", why)
	os.Exit(1)
}

// One session. The mutex guards what stands below it.
type session struct {
	connection *tls.Conn
	ended      chan struct{}
	writing    sync.WaitGroup

	mutex               sync.Mutex
	moved               *sync.Cond
	sent, received, end int
	running             bool
}

func open(config *tls.Config) *session {
	connection, err := tls.Dial("tcp", "127.0.0.1:"+os.Args[1], config)
	if err != nil {
		fail(err)
	}
	made := &session{connection: connection, ended: make(chan struct{})}
	made.moved = sync.NewCond(&made.mutex)
	go made.read()
	return made
}

func (s *session) read() {
	data := make([]byte, 65536)
	for {
		size, err := s.connection.Read(data)
		s.take(data[:size])
		if errors.Is(err, io.EOF) {
			close(s.ended)
			return
		}
		if err != nil {
			fail(err)
		}
	}
}

func (s *session) take(data []byte) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	at := s.received % period
	if s.received+len(data) > s.sent || !bytes.Equal(data, pattern[at:at+len(data)]) {
		fail("a byte came back that was not sent")
	}
	s.received += len(data)
	s.moved.Broadcast()
}

func (s *session) send(size int) {
	s.mutex.Lock()
	at := s.sent % period
	s.sent += size
	s.mutex.Unlock()
	if _, err := s.connection.Write(pattern[at : at+size]); err != nil {
		fail(err)
	}
}

// Writes while traffic runs freely, but not too far ahead of what comes back.
func (s *session) run() {
	defer s.writing.Done()
	for {
		s.mutex.Lock()
		for s.running && s.sent-s.received >= ahead {
			s.moved.Wait()
		}
		goOn := s.running
		s.mutex.Unlock()
		if !goOn {
			return
		}
		s.send(chunk)
	}
}

func (s *session) catchUp() {
	timer := time.AfterFunc(patience, func() { fail("what was sent does not come back") })
	defer timer.Stop()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for s.received < s.sent {
		s.moved.Wait()
	}
}

func (s *session) setRunning(running bool) {
	s.mutex.Lock()
	s.running = running
	s.moved.Broadcast()
	s.mutex.Unlock()
}

func (s *session) awaitEnd() {
	select {
	case <-s.ended:
	case <-time.After(patience):
		fail("no close_notify came")
	}
}

func (s *session) close() {
	if err := s.connection.CloseWrite(); err != nil {
		fail(err)
	}
	s.awaitEnd()
	s.connection.Close()
}

func (s *session) obey(order string, config *tls.Config) *session {
	count, size := 1, 100
	switch strings.Fields(order)[0] {
	case "echo":
		fmt.Sscanf(order, "echo %d %d", &count, &size)
		for i := 0; i < count; i++ {
			s.send(size)
			s.catchUp()
		}
	case "start":
		s.setRunning(true)
		s.writing.Add(1)
		go s.run()
	case "stop":
		s.setRunning(false)
		s.writing.Wait()
		s.catchUp()
	case "reconnect":
		s.close()
		return open(config)
	case "close":
		s.close()
	case "await-close":
		s.awaitEnd()
		s.connection.Close()
	default:
		fail("this library cannot")
	}
	return s
}

func configuration() *tls.Config {
	root, err := os.ReadFile(os.Args[2])
	if err != nil {
		fail(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	version := uint16(tls.VersionTLS13)
	if os.Args[4] == "1.2" {
		version = tls.VersionTLS12
	}
	config := &tls.Config{RootCAs: pool, ServerName: os.Args[3], MinVersion: version, MaxVersion: version,
		ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	if len(os.Args) > 5 {
		config.Renegotiation = tls.RenegotiateFreelyAsClient
	}
	return config
}

func main() {
	for i := range pattern {
		pattern[i] = byte(i % period)
	}
	config := configuration()
	s := open(config)
	fmt.Println("connected", strings.TrimPrefix(runtime.Version(), "go"))
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		s = s.obey(lines.Text(), config)
		fmt.Println("ok")
	}
}
