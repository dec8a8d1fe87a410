package demo

import (
	"fmt"

	"github.com/postern-mail/postern/internal/dns"
)

// mxAddress is where mx.test seems to be. Dialer leads from there to the sample
// server, so that its port may be any.
const mxAddress = "127.0.0.25:25"

// zoneText is the built-in .test zone (RFC 6761 section 6.2 keeps .test for
// this). Every name below .test has an MX that leads to the sample customer's
// server, but for the names that show what else can happen.
//
// void.test exists so that the wildcard does not cover what is below it: an
// alias to there is a name that does not exist (RFC 4592, RFC 6604).
const zoneText = `
$TTL 60
@          IN SOA   ns.test. hostmaster.test. 1 3600 600 86400 60
*          IN MX    10 mx
mx         IN A     127.0.0.25
nomail     IN MX    0 .
missing    IN CNAME nothing.void
void       IN TXT   "nothing lives below here"
noaddress  IN MX    10 empty
empty      IN TXT   "a mail exchanger without an address"
down       IN MX    10 down-mx
down-mx    IN A     127.0.0.53
$SERVFAIL broken
`

// newZone returns the built-in zone.
func newZone() (*dns.Zone, error) {
	zone, err := dns.NewZone(zoneText, "test")
	if err != nil {
		return nil, fmt.Errorf("built-in zone: %w", err)
	}
	return zone, nil
}
