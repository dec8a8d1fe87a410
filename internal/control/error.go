package control

import (
	"errors"
	"fmt"
	"net/http"
)

// Code says what a client may do about an error.
type Code string

// The codes.
const (
	CodeBadRequest  Code = "bad_request"  // the request makes no sense
	CodeNotFound    Code = "not_found"    // what was asked for is not there
	CodeAmbiguous   Code = "ambiguous"    // an ID's suffix names several
	CodeForbidden   Code = "forbidden"    // the peer's role does not allow it
	CodeUnknownCall Code = "unknown_call" // this build knows no such call
	CodeBusy        Code = "busy"         // a bound is reached; later
	CodeUnavailable Code = "unavailable"  // the part asked is not running
	CodeInternal    Code = "internal"     // anything else
)

// Error is what crosses the socket. A handler returns one to choose the code;
// every other error crosses as CodeInternal with its words, except those of a
// context, which cross as CodeUnavailable.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Errorf makes an Error with that code.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// IsCode reports whether err is an Error with that code.
func IsCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

func (e *Error) status() int {
	switch e.Code {
	case CodeBadRequest, CodeAmbiguous:
		return http.StatusBadRequest
	case CodeNotFound, CodeUnknownCall:
		return http.StatusNotFound
	case CodeForbidden:
		return http.StatusForbidden
	case CodeBusy, CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
