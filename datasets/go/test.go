
// What tests say of results: the part of an assertion library that the set's tests use. A failure is a panic.
type assayFailed struct{ why string }

type assayAsserts struct{}

type assayAssert struct{}

var assert assayAsserts

func (assayAsserts) New(interface{}) *assayAssert { return &assayAssert{} }

func assayShown(v interface{}) string {
	s := assayfmt.Sprintf("%#v", v)
	if len(s) > 400 {
		s = s[:400]
	}
	return s
}

func (*assayAssert) check(ok bool, what string, is interface{}) bool {
	if !ok {
		panic(assayFailed{what + " " + assayShown(is)})
	}
	return true
}

func (a *assayAssert) Equal(want, is interface{}, _ ...interface{}) bool {
	return a.check(assayreflect.DeepEqual(want, is), "expected "+assayShown(want)+", and it is", is)
}

func (a *assayAssert) EqualValues(want, is interface{}, _ ...interface{}) bool {
	same := assayreflect.DeepEqual(want, is)
	if t := assayreflect.TypeOf(is); !same && t != nil && want != nil && assayreflect.TypeOf(want).ConvertibleTo(t) {
		same = assayreflect.DeepEqual(assayreflect.ValueOf(want).Convert(t).Interface(), is)
	}
	return a.check(same, "expected "+assayShown(want)+", and it is", is)
}

func (a *assayAssert) NotEqual(want, is interface{}, _ ...interface{}) bool {
	return a.check(!assayreflect.DeepEqual(want, is), "expected another than", is)
}

func assayNil(v interface{}) bool {
	if v == nil {
		return true
	}
	x := assayreflect.ValueOf(v)
	switch x.Kind() {
	case assayreflect.Chan, assayreflect.Func, assayreflect.Interface, assayreflect.Map, assayreflect.Ptr, assayreflect.Slice:
		return x.IsNil()
	}
	return false
}

func assayLength(v interface{}) int {
	x := assayreflect.ValueOf(v)
	switch x.Kind() {
	case assayreflect.Array, assayreflect.Map, assayreflect.Slice, assayreflect.String:
		return x.Len()
	}
	return -1
}

func (a *assayAssert) Nil(is interface{}, _ ...interface{}) bool    { return a.check(assayNil(is), "expected nil, and it is", is) }
func (a *assayAssert) NotNil(is interface{}, _ ...interface{}) bool { return a.check(!assayNil(is), "expected another than", is) }
func (a *assayAssert) True(is bool, _ ...interface{}) bool          { return a.check(is, "expected true, and it is", is) }
func (a *assayAssert) False(is bool, _ ...interface{}) bool         { return a.check(!is, "expected false, and it is", is) }
func (a *assayAssert) Empty(is interface{}, _ ...interface{}) bool {
	return a.check(is == nil || assayNil(is) || assayLength(is) == 0, "expected nothing, and it is", is)
}
func (a *assayAssert) Len(is interface{}, n int, _ ...interface{}) bool {
	return a.check(assayLength(is) == n, assayfmt.Sprintf("expected %d, and it is", n), is)
}
func (a *assayAssert) NoError(is error, _ ...interface{}) bool { return a.check(is == nil, "expected no error, and it is", is) }
func (a *assayAssert) Error(is error, _ ...interface{}) bool   { return a.check(is != nil, "expected an error, and it is", is) }
func (a *assayAssert) InDelta(want, is interface{}, delta float64, _ ...interface{}) bool {
	f := assayreflect.TypeOf(delta)
	ok := want != nil && is != nil && assayreflect.TypeOf(want).ConvertibleTo(f) && assayreflect.TypeOf(is).ConvertibleTo(f)
	if ok {
		d := assayreflect.ValueOf(want).Convert(f).Float() - assayreflect.ValueOf(is).Convert(f).Float()
		ok = d <= delta && -d <= delta
	}
	return a.check(ok, "expected "+assayShown(want)+", and it is", is)
}
