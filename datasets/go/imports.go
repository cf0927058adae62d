import (
	assayerrors "errors"
	assayfmt "fmt"
	assayioutil "io/ioutil"
	assayos "os"
	assayreflect "reflect"
	assaysort "sort"
	assaystrconv "strconv"
	assaystrings "strings"
)

