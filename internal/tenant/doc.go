// Package tenant is the model of who is served: tenants, their domains,
// recipients, next hops, users and trusted networks. It reads tenants.yaml,
// compiles it into an immutable Snapshot and answers every lookup of the mail
// path from memory.
//
// # Promises
//
//   - A Snapshot never changes. A Holder swaps a whole Snapshot for another,
//     so that a lookup sees the old state or the new one, never a mixture.
//   - A file that does not compile changes nothing: the Holder keeps what it
//     has. All problems of a file are named in one pass, each with line and
//     column.
//   - Lookup takes less than a microsecond with 100,000 domains and allocates
//     nothing for an ASCII address, whatever its letter case.
//   - Domains are matched as lower-case A-labels, local-parts in Unicode
//     normal form C and lower case (smtp.Path.Key). postmaster and abuse exist
//     in every domain served, and so does the bare <postmaster> (RFC 5321
//     section 4.5.1).
//
// # Never
//
// It never asks the network, never waits (except Passwords, which bounds its
// work), never logs, and never prints a password or a hash.
//
// # tenants.yaml
//
//	postmaster: hostmaster@example.net   # whom the bare <postmaster> reaches
//	tenants:
//	  - id: acme                         # lower-case letters, digits, hyphens
//	    name: Acme Ltd.
//	    region: eu                       # optional
//	    outbound: {hosts: [smart.example.net]}   # optional smart host
//	    domains:
//	      - name: example.net
//	        recipients: [alice, bob]     # or any: true
//	        subaddress: "+"              # alice+tag is alice; off without it
//	        next_hop: {hosts: ["127.0.0.1:2526", "[::1]:25", mx.example.net:25]}
//	        max_connections: 10          # 0 or absent: the node's default
//	        tls: opportunistic           # or none, required
//	      - name: example.org
//	        any: true
//	        next_hop: {mx: inside.example.org}
//	    users:
//	      - login: alice
//	        password: "$argon2id$v=19$m=19456,t=2,p=1$..."  # postern password
//	        addresses: [alice@example.net]
//	        domains: [example.org]       # any address there, too
//	    trusted_networks: [192.0.2.0/24]
//
// # Failures
//
//	Load, Compile   every problem of the file, as yamlfile.Problems; the
//	                caller keeps the Snapshot it has
//	Lookup          NotOurs or NoSuchUser; it cannot fail
//	Passwords       ErrPassword (wrong login or password, not told apart) or
//	                ErrBusy (the bound on concurrent checks; a temporary reply)
package tenant
