// Package custody holds the tests in which the spool and the auditor, who
// share no code, judge the same directory. It has no code of its own.
package custody
