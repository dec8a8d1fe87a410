package smtp

// Path is a reverse-path or forward-path of RFC 5321 section 4.1.2 without its
// source route. The zero value is the null reverse-path "<>".
//
// Local is the local-part with quoting removed (so `"a b"@x` has Local `a b`).
// Domain is kept as it came on the wire: an A-label domain, a U-label domain
// (SMTPUTF8), or an address literal with its brackets ("[127.0.0.1]"). It is
// empty for the null reverse-path and for the bare "<postmaster>" of RFC 5321
// section 4.5.1.
type Path struct {
	Local  string
	Domain string
}

// IsNull reports whether p is the null reverse-path.
func (p Path) IsNull() bool { return p.Local == "" && p.Domain == "" }
