package cause

import "strconv"

// words are the causes in their order. They are metric labels and stand in
// traces and alarms: never change one, only append.
func words() [43]string {
	return [43]string{
		"none",
		"dns-no-such-name", "dns-no-address", "dns-null-mx", "dns-could-not-ask", "dns-bad-answer", "route-loop", "no-route",
		"connect-refused", "connect-timeout", "connect-unreachable", "connect-reset",
		"tls-handshake", "tls-required", "tls-certificate",
		"peer-timeout", "peer-slow", "peer-closed", "peer-protocol", "lost-after-data",
		"peer-greeting-4xx", "peer-greeting-5xx", "peer-hello", "peer-auth", "peer-mail-4xx", "peer-mail-5xx",
		"peer-rcpt-4xx", "peer-rcpt-5xx", "peer-data-4xx", "peer-data-5xx", "peer-content-4xx", "peer-content-5xx",
		"peer-shutdown",
		"need-8bitmime", "need-smtputf8", "too-large-for-peer",
		"expired", "local-io", "local-limit", "local-shutdown", "local-damage", "local-internal", "operator-action",
	}
}

// Words returns every cause's word, None's first: the closed set for a metric's
// label.
func Words() []string {
	all := words()
	return all[:]
}

// String returns the cause's word: "peer-rcpt-5xx"; "none" for None. A number
// of a newer build gives "cause-" and the number.
func (c Cause) String() string {
	if all := words(); int(c) < len(all) {
		return all[c]
	}
	return "cause-" + strconv.Itoa(int(c))
}
