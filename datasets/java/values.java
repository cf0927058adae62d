// Values that cross between the program and the test's side, as words of plain ASCII with a space between each two: a letter
// for the kind of a number and the number, "'" and a text with all but letters and digits as %XXXX, "[", "{", "<" and a number
// before so many elements, pairs, members. Nothing that is decoded is of a class of the program's.
final class AssayMalformed extends RuntimeException {
    AssayMalformed() { super("it is not what a program's side writes"); }
}

// What has no plain form: it equals nothing but itself.
final class AssayOpaque {
    final String kind;
    AssayOpaque(String kind) { this.kind = kind; }
    @Override public String toString() { return "<" + kind + ">"; }
}

final class AssayWords {
    final String[] list;
    int at;

    AssayWords(String text) { list = text.isEmpty() ? new String[0] : text.split(" ", -1); }

    String next() {
        if (at >= list.length || list[at].isEmpty()) throw new AssayMalformed();
        return list[at++];
    }

    void end() { if (at < list.length) throw new AssayMalformed(); }
}

final class AssayValues {
    private static final String ARRAYS = "\\[+([ZBCSIJFD]|Ljava\\.lang\\.(Object|String|Integer|Long|Double|Float|Boolean|Character);|Ljava\\.util\\.List;)";

    static String escaped(String s) {
        StringBuilder out = new StringBuilder("'");
        for (int i = 0; i < s.length(); i++) {
            char c = s.charAt(i);
            if (c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z') out.append(c);
            else out.append(String.format("%%%04X", (int) c));
        }
        return out.toString();
    }

    static String unescaped(String word) {
        StringBuilder out = new StringBuilder();
        if (!word.startsWith("'")) throw new AssayMalformed();
        for (int i = 1; i < word.length(); i++) {
            if (word.charAt(i) != '%') {
                out.append(word.charAt(i));
                continue;
            }
            if (i + 4 >= word.length()) throw new AssayMalformed();
            out.append((char) Integer.parseInt(word.substring(i + 1, i + 5), 16));
            i += 4;
        }
        return out.toString();
    }

    static String put(Object v) {
        if (v == null) return "n";
        Class<?> c = v.getClass();
        if (c == Boolean.class) return (Boolean) v ? "z1" : "z0";
        if (c == Integer.class) return "i" + v;
        if (c == Long.class) return "l" + v;
        if (c == Short.class) return "h" + v;
        if (c == Byte.class) return "y" + v;
        if (c == Character.class) return "c" + (int) (Character) v;
        if (c == Double.class) return "d" + v;
        if (c == Float.class) return "f" + v;
        if (c == String.class) return escaped((String) v);
        if (c == java.math.BigInteger.class) return "N" + v;
        if (c == java.math.BigDecimal.class) return "D" + v;
        if (c == java.util.Optional.class) return ((java.util.Optional<?>) v).isPresent() ? "?1 " + put(((java.util.Optional<?>) v).get()) : "?0";
        if (c.isArray()) {
            if (!c.getName().matches(ARRAYS)) return "o" + escaped(c.getName());
            StringBuilder out = new StringBuilder("a" + escaped(c.getName()) + " [" + java.lang.reflect.Array.getLength(v));
            for (int i = 0; i < java.lang.reflect.Array.getLength(v); i++) out.append(' ').append(put(java.lang.reflect.Array.get(v, i)));
            return out.toString();
        }
        if (v instanceof java.util.List || v instanceof java.util.Queue) {
            Object[] all = ((java.util.Collection<?>) v).toArray();
            StringBuilder out = new StringBuilder("[" + all.length);
            for (Object x : all) out.append(' ').append(put(x));
            return out.toString();
        }
        java.util.List<String> words = new java.util.ArrayList<>();
        if (v instanceof java.util.Set) {
            for (Object x : ((java.util.Set<?>) v).toArray()) words.add(put(x));
        } else if (v instanceof java.util.Map) {
            for (java.util.Map.Entry<?, ?> e : ((java.util.Map<?, ?>) v).entrySet()) words.add(put(e.getKey()) + " " + put(e.getValue()));
        } else {
            return "o" + escaped(c.getName());
        }
        java.util.Collections.sort(words);
        StringBuilder out = new StringBuilder((v instanceof java.util.Set ? "<" : "{") + words.size());
        for (String w : words) out.append(' ').append(w);
        return out.toString();
    }

    private static int number(String word, int most) {
        int n = Integer.parseInt(word.substring(1));
        if (n < 0 || n > most) throw new AssayMalformed();
        return n;
    }

    private static Class<?> element(String name) {
        if (!name.matches(ARRAYS)) throw new AssayMalformed();
        try {
            return Class.forName(name).getComponentType();
        } catch (ClassNotFoundException e) {
            throw new AssayMalformed();
        }
    }

    static Object get(AssayWords w) {
        String word = w.next(), rest = word.substring(1);
        switch (word.charAt(0)) {
        case 'n': return null;
        case 'z': return rest.equals("1");
        case 'i': return Integer.valueOf(rest);
        case 'l': return Long.valueOf(rest);
        case 'h': return Short.valueOf(rest);
        case 'y': return Byte.valueOf(rest);
        case 'c': return (char) Integer.parseInt(rest);
        case 'd': return Double.valueOf(rest);
        case 'f': return Float.valueOf(rest);
        case '\'': return unescaped(word);
        case 'N': return new java.math.BigInteger(rest);
        case 'D': return new java.math.BigDecimal(rest);
        case 'o': return new AssayOpaque(unescaped(rest));
        case '?': return rest.equals("1") ? java.util.Optional.ofNullable(get(w)) : java.util.Optional.empty();
        case '[': {
            java.util.List<Object> all = new java.util.ArrayList<>();
            for (int n = number(word, w.list.length); n > 0; n--) all.add(get(w));
            return all;
        }
        case '<': {
            java.util.Set<Object> all = new java.util.LinkedHashSet<>();
            for (int n = number(word, w.list.length); n > 0; n--) all.add(get(w));
            return all;
        }
        case '{': {
            java.util.Map<Object, Object> all = new java.util.LinkedHashMap<>();
            for (int n = number(word, w.list.length); n > 0; n--) {
                Object key = get(w);
                all.put(key, get(w));
            }
            return all;
        }
        case 'a': {
            Class<?> element = element(unescaped(rest));
            int n = number(w.next(), w.list.length);
            Object all = java.lang.reflect.Array.newInstance(element, n);
            for (int i = 0; i < n; i++) java.lang.reflect.Array.set(all, i, get(w));
            return all;
        }
        default: throw new AssayMalformed();
        }
    }

    static String putAll(Object[] list) {
        StringBuilder out = new StringBuilder();
        for (Object v : list) out.append(' ').append(put(v));
        return out.toString();
    }

    static Object[] getAll(AssayWords w) {
        java.util.List<Object> all = new java.util.ArrayList<>();
        while (w.at < w.list.length) all.add(get(w));
        return all.toArray();
    }

    // What a call of the function gives, as a line.
    static String call(Object on, String name, Object[] args) {
        Throwable why = new NoSuchMethodException(name + " with " + args.length + " arguments");
        for (java.lang.reflect.Method m : on.getClass().getDeclaredMethods()) {
            if (!m.getName().equals(name) || m.getParameterCount() != args.length) continue;
            try {
                m.setAccessible(true);
                return "= " + put(m.invoke(on, args));
            } catch (java.lang.reflect.InvocationTargetException e) {
                return thrown(e.getCause());
            } catch (IllegalAccessException | IllegalArgumentException e) {
                why = e; // another of that name
            }
        }
        return thrown(why);
    }

    static String thrown(Throwable e) {
        if (e instanceof OutOfMemoryError) throw (OutOfMemoryError) e;
        String m = String.valueOf(e);
        return "! " + escaped(m.substring(0, Math.min(m.length(), 500)));
    }

    static Object result(String line) {
        AssayWords w = new AssayWords(line);
        String kind = w.next();
        if (kind.equals("!")) throw new RuntimeException("the program threw " + unescaped(w.next()));
        if (!kind.equals("=")) throw new AssayMalformed();
        Object v = get(w);
        w.end();
        return v;
    }

    static String[] lines(byte[] text) {
        String s = new String(text, java.nio.charset.StandardCharsets.UTF_8);
        if (s.endsWith("\n")) s = s.substring(0, s.length() - 1);
        return s.isEmpty() ? new String[0] : s.split("\n", -1);
    }
}

