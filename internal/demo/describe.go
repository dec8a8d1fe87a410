package demo

import (
	"bytes"
	"strings"
	"time"
)

// maxHead is how much of a message is looked at for its description. Octets;
// chosen.
const maxHead = 16 << 10

// Names of the fields that the sample server adds in front at final delivery.
// Return-Path is RFC 5321 section 4.4's; the others are how the list is read
// again after a restart.
const (
	fieldReturnPath  = "Return-Path"
	fieldDeliveredTo = "Delivered-To"
	fieldDelivery    = "X-Demo-Delivery" // RFC 3339 time; TLS facts
)

// appendDelivery appends the fields of final delivery.
func appendDelivery(dst []byte, m Message) []byte {
	dst = append(dst, fieldReturnPath+": <"+m.Reverse+">\r\n"...)
	for _, to := range m.Forward {
		dst = append(dst, fieldDeliveredTo+": "+to+"\r\n"...)
	}
	dst = append(dst, fieldDelivery+": "...)
	dst = m.Time.AppendFormat(dst, time.RFC3339Nano)
	return append(dst, "; "+m.TLS+"\r\n"...)
}

// describe reads what the list shows from the first octets of a kept message.
// Fields that the sender wrote are never taken for those added here: only the
// first of each counts, and of Delivered-To those before X-Demo-Delivery.
func describe(head []byte) Message {
	var m Message
	for name, value := range fields(head) {
		switch strings.ToLower(name) {
		case "return-path":
			if m.Time.IsZero() {
				m.Reverse = strings.TrimSuffix(strings.TrimPrefix(value, "<"), ">")
			}
		case "delivered-to":
			if m.Time.IsZero() {
				m.Forward = append(m.Forward, value)
			}
		case "x-demo-delivery":
			if m.Time.IsZero() {
				at, tls, _ := strings.Cut(value, ";")
				m.Time, _ = time.Parse(time.RFC3339Nano, at)
				m.TLS = strings.TrimSpace(tls)
			}
		case "received":
			if m.ID == "" {
				m.ID = idWord(value)
			}
		case "subject":
			m.Subject = value
		case "from":
			m.From = value
		}
	}
	return m
}

// fields yields the unfolded header fields of head.
func fields(head []byte) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		var name, value string
		for line := range bytes.Lines(head) {
			text := strings.TrimRight(string(line), "\r\n")
			if text == "" {
				break
			}
			if text[0] == ' ' || text[0] == '\t' {
				value += " " + strings.TrimSpace(text)
				continue
			}
			if name != "" && !yield(name, value) {
				return
			}
			name, value, _ = strings.Cut(text, ":")
			value = strings.TrimSpace(value)
		}
		if name != "" {
			yield(name, value)
		}
	}
}

// idWord returns the word after "id" in a Received field.
func idWord(value string) string {
	words := strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == ';' })
	for i := range len(words) - 1 {
		if words[i] == "id" {
			return words[i+1]
		}
	}
	return ""
}
