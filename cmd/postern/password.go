package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/postern-mail/postern/internal/tenant"
)

type passwordCmd struct{}

// maxPasswordLine bounds what is read from standard input, in octets.
const maxPasswordLine = 4096

// Run reads a password, twice and unseen from a terminal, once from anything
// else, and prints its hash.
func (c *passwordCmd) Run(a *app) error {
	password, err := readPassword(a)
	if err != nil {
		return fmt.Errorf("password: %w", err)
	}
	hash, err := tenant.Hash(password)
	if err != nil {
		return fmt.Errorf("password: %w", err)
	}
	_, err = fmt.Fprintln(a.stdout, hash)
	return err
}

func readPassword(a *app) (string, error) {
	in := bufio.NewReader(io.LimitReader(a.stdin, 2*maxPasswordLine))
	terminal, ok := a.stdin.(*os.File)
	if !ok || !isTerminal(terminal) {
		return readLine(in)
	}
	restore, err := hideTyping(terminal)
	if err != nil {
		return "", err
	}
	defer restore()
	// Nothing ends a read of a terminal: a signal has to end the process, and
	// must not leave the terminal mute.
	giveUp := context.AfterFunc(a.ctx, func() {
		restore()
		fmt.Fprintln(a.stderr)
		os.Exit(exitInterrupted)
	})
	defer giveUp()
	fmt.Fprint(a.stderr, "Password: ")
	first, err := readLine(in)
	fmt.Fprint(a.stderr, "\nOnce more: ")
	if err != nil {
		return "", err
	}
	second, err := readLine(in)
	fmt.Fprintln(a.stderr)
	if err == nil && first != second {
		err = errors.New("the two differ")
	}
	return first, err
}

func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil && (!errors.Is(err, io.EOF) || line == "") {
		return "", errors.New("nothing was given on standard input")
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// hideTyping turns the terminal's echo off; what it returns turns it on again.
func hideTyping(terminal *os.File) (restore func(), err error) {
	fd := int(terminal.Fd())
	state, err := unix.IoctlGetTermios(fd, ioctlGetTermios)
	if err != nil {
		return nil, err
	}
	silent := *state
	silent.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, ioctlSetTermios, &silent); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, ioctlSetTermios, state) }, nil
}
