// Package yamlfile reads a YAML file that a person wrote, strictly, into
// structs, and names every problem with line, column and the source line.
//
// It decodes goccy/go-yaml's syntax tree itself, because that library's own
// decoder stops at the first problem, and because a check that runs after
// decoding (a domain listed twice) must be able to point at a line too:
// Document.Explain turns a path such as tenants[0].domains[1].name into the
// place where it is written.
//
// # What is strict
//
//   - Unknown keys and keys given twice are problems; a near miss is suggested.
//   - Text is text: a value that YAML reads as number, boolean or null must be
//     quoted where text is wanted, and a number must not be quoted.
//   - Anchors, aliases, merge keys, tags and second documents are refused: a
//     reader of the file sees what is in force on the line itself.
//   - A type with UnmarshalText reads plain and quoted scalars alike (sizes,
//     durations, addresses).
//   - Lists and mappings may be empty ("users:"); scalars may not.
//
// # Secrets
//
// A field tagged secret:"true" is never quoted in a message. Excerpts hide
// what follows a key that contains "pass" or "secret", and Argon2 hashes
// wherever they stand.
//
// # Failures
//
// Every failure is a Problems value. A syntax error ends the reading, so it
// comes alone; all others come together, at most 50 of them.
package yamlfile
