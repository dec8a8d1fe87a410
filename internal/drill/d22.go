package drill

// abuse is D22: clients that bend the protocol.
func abuse() scenario {
	return scenario{
		Entry: Entry{
			Name: "D22", Title: "protocol abuse",
			Fault: "look-alikes of the end of data, bare LF and CR, early talk, BDAT mixes, NUL, lines of 1 MB, random sessions",
			Bar:   "0 smuggled, 0 crashes, memory and descriptors bounded afterwards",
		},
	}
}
