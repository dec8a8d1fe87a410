package drill

// custody is D21: what was acknowledged reaches its next hop, whatever stops
// the process or the disk.
func custody() scenario {
	return scenario{
		Entry: Entry{
			Name: "D21", Title: "custody under kill -9",
			Fault: "the process is killed at random moments and at named lines, the disk answers EIO and ENOSPC, is full, or holds forged records",
			Bar:   "0 lost, duplicates <= 0.1 % and each explained, the sync precedes every 250, errors are 4xx, nothing forged is accepted or finished",
		},
	}
}
