package node

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// leaf is one setting: a field of Config, or of a struct in it, that is not a
// struct with keys of its own.
type leaf struct {
	path  string
	value reflect.Value // addressable
	tag   reflect.StructTag
}

// leavesOf walks a pointer to a struct whose fields bear yaml tags, in order.
func leavesOf(config any) []leaf {
	return walk(reflect.ValueOf(config).Elem(), "")
}

func walk(v reflect.Value, prefix string) []leaf {
	var leaves []leaf
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name := field.Tag.Get("yaml")
		if name == "" {
			continue
		}
		path := prefix + name
		_, reads := v.Field(i).Addr().Interface().(encoding.TextUnmarshaler)
		if v.Field(i).Kind() == reflect.Struct && !reads {
			leaves = append(leaves, walk(v.Field(i), path+".")...)
			continue
		}
		leaves = append(leaves, leaf{path: path, value: v.Field(i), tag: field.Tag})
	}
	return leaves
}

// env is the leaf's environment variable.
func (l leaf) env() string {
	return "POSTERN_" + strings.ToUpper(strings.ReplaceAll(l.path, ".", "_"))
}

func (l leaf) secret() bool { return l.tag.Get("secret") == "true" }

// set reads text as the environment and the command line write it: lists with
// commas, "none" for an empty one.
func (l leaf) set(text string) error {
	if l.value.Kind() != reflect.Slice {
		return setOne(l.value, text)
	}
	if text == "none" || text == "" {
		l.value.Set(reflect.MakeSlice(l.value.Type(), 0, 0))
		return nil
	}
	parts := strings.Split(text, ",")
	list := reflect.MakeSlice(l.value.Type(), len(parts), len(parts))
	for i, part := range parts {
		if err := setOne(list.Index(i), strings.TrimSpace(part)); err != nil {
			return err
		}
	}
	l.value.Set(list)
	return nil
}

func setOne(v reflect.Value, text string) error {
	if reader, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return reader.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("want true or false, not %q", text)
		}
		v.SetBool(text == "true")
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("want a whole number, not %q", text)
		}
		v.SetInt(int64(n))
	default:
		return errors.New("can't be set by text")
	}
	return nil
}

// text is the leaf's value as set reads it; "none" for an empty list.
func (l leaf) text() string {
	if l.value.Kind() != reflect.Slice {
		return textOf(l.value)
	}
	if l.value.Len() == 0 {
		return "none"
	}
	parts := make([]string, l.value.Len())
	for i := range parts {
		parts[i] = textOf(l.value.Index(i))
	}
	return strings.Join(parts, ",")
}

func textOf(v reflect.Value) string {
	if shown, ok := v.Interface().(fmt.Stringer); ok {
		return shown.String()
	}
	return fmt.Sprint(v.Interface())
}

// check compares the leaf with its min, max and words tags.
func (l leaf) check() error {
	if words := l.tag.Get("words"); words != "" {
		if !contains(strings.Split(words, ","), l.value.String()) {
			return fmt.Errorf("%q is not one of %s", l.value.String(), strings.ReplaceAll(words, ",", ", "))
		}
	}
	if l.value.Kind() != reflect.Slice {
		return l.checkOne(l.value)
	}
	for i := range l.value.Len() {
		if err := l.checkOne(l.value.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (l leaf) checkOne(v reflect.Value) error {
	least, most := l.tag.Get("min"), l.tag.Get("max")
	if least == "" && most == "" {
		return nil
	}
	low, high := reflect.New(v.Type()).Elem(), reflect.New(v.Type()).Elem()
	if err := errors.Join(setOne(low, least), setOne(high, most)); err != nil {
		return fmt.Errorf("its bounds can't be read: %w", err)
	}
	if v.Int() < low.Int() || v.Int() > high.Int() {
		return fmt.Errorf("%s is not from %s to %s", textOf(v), textOf(low), textOf(high))
	}
	return nil
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}
