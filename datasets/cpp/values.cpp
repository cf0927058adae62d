// Values that cross between the program and the test's side, as words of plain ASCII with a space between each two: numbers,
// "'" and a text with all but letters and digits as %XX, "[" and a number before so many elements. The type says what comes.
#define _GLIBCXX_ASSERTIONS 1 // an index that a result has not is a failure, and not whatever lies there
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>
#include <fcntl.h>
#include <unistd.h>

namespace assay {
struct Malformed : std::runtime_error { Malformed() : std::runtime_error("it is not what the function is declared to return") {} };

struct Words {
    std::string text;
    size_t at = 0;
    std::string next() {
        if (at >= text.size()) throw Malformed();
        size_t end = text.find(' ', at);
        std::string word = text.substr(at, end == std::string::npos ? end : end - at);
        at = end == std::string::npos ? text.size() : end + 1;
        return word;
    }
    void end() const { if (at < text.size()) throw Malformed(); }
};

inline std::string escaped(const std::string &s) {
    std::string out = "'";
    char hex[8];
    for (unsigned char c : s)
        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) out += char(c);
        else { std::snprintf(hex, sizeof hex, "%%%02X", c); out += hex; }
    return out;
}

inline std::string unescaped(const std::string &word) {
    std::string out;
    if (word.empty() || word[0] != '\'') throw Malformed();
    for (size_t i = 1; i < word.size(); i++) {
        if (word[i] != '%') { out += word[i]; continue; }
        if (i + 2 >= word.size()) throw Malformed();
        char *end, hex[3] = {word[i + 1], word[i + 2], 0};
        out += char(std::strtol(hex, &end, 16));
        if (*end != 0) throw Malformed();
        i += 2;
    }
    return out;
}

template <class T, class = void> struct is_container : std::false_type {};
template <class T> struct is_container<T, std::void_t<typename T::value_type, decltype(std::declval<const T &>().begin()), decltype(std::declval<const T &>().size())>> : std::true_type {};
template <class T, class = void> struct is_unordered : std::false_type {};
template <class T> struct is_unordered<T, std::void_t<typename T::hasher>> : std::true_type {};
template <class T> struct is_pair : std::false_type {};
template <class A, class B> struct is_pair<std::pair<A, B>> : std::true_type {};
template <class T> struct is_tuple : std::false_type {};
template <class... A> struct is_tuple<std::tuple<A...>> : std::true_type {};
template <class T> struct is_optional : std::false_type {};
template <class T> struct is_optional<std::optional<T>> : std::true_type {};
template <class T> struct is_array : std::false_type {};
template <class T, size_t N> struct is_array<std::array<T, N>> : std::true_type {};
template <class T> struct plain { using type = T; };
template <class A, class B> struct plain<std::pair<A, B>> { using type = std::pair<std::remove_const_t<A>, B>; };

template <class T> std::string put(const T &v) {
    char number[80];
    if constexpr (std::is_floating_point_v<T>) {
        std::snprintf(number, sizeof number, "%La", (long double)v);
        return number;
    } else if constexpr (std::is_arithmetic_v<T>) {
        return std::to_string(v + 0);
    } else if constexpr (std::is_same_v<T, std::string>) {
        return escaped(v);
    } else if constexpr (is_pair<T>::value) {
        return put(v.first) + " " + put(v.second);
    } else if constexpr (is_tuple<T>::value) {
        return std::apply([](const auto &...x) { std::string all; ((all += (all.empty() ? "" : " ") + put(x)), ...); return all; }, v);
    } else if constexpr (is_optional<T>::value) {
        return v ? "?1 " + put(*v) : std::string("?0");
    } else {
        static_assert(is_container<T>::value, "a value of this type is not plain data");
        std::vector<std::string> list;
        for (auto i = v.begin(); i != v.end(); ++i) list.push_back(put<typename T::value_type>(*i));
        if constexpr (is_unordered<T>::value) std::sort(list.begin(), list.end());
        std::string all = "[" + std::to_string(list.size());
        for (const auto &x : list) all += " " + x;
        return all;
    }
}

template <class T> T get(Words &w) {
    if constexpr (std::is_floating_point_v<T>) {
        std::string word = w.next();
        char *end;
        T v = T(std::strtold(word.c_str(), &end));
        if (*end != 0) throw Malformed();
        return v;
    } else if constexpr (std::is_arithmetic_v<T>) {
        std::string word = w.next();
        char *end;
        errno = 0;
        T v = std::is_signed_v<T> ? T(std::strtoll(word.c_str(), &end, 10)) : T(std::strtoull(word.c_str(), &end, 10));
        if (*end != 0 || errno != 0 || std::to_string(v + 0) != word) throw Malformed();
        return v;
    } else if constexpr (std::is_same_v<T, std::string>) {
        return unescaped(w.next());
    } else if constexpr (is_pair<T>::value) {
        auto first = get<std::remove_const_t<typename T::first_type>>(w);
        return T(std::move(first), get<typename T::second_type>(w));
    } else if constexpr (is_tuple<T>::value) {
        return std::apply([&w](auto... x) { return T{get<decltype(x)>(w)...}; }, T{});
    } else if constexpr (is_optional<T>::value) {
        std::string word = w.next();
        if (word != "?0" && word != "?1") throw Malformed();
        return word == "?1" ? T(get<typename T::value_type>(w)) : T();
    } else {
        static_assert(is_container<T>::value, "a value of this type is not plain data");
        std::string word = w.next();
        char *end = nullptr;
        unsigned long long n = word[0] == '[' && word.size() > 1 ? std::strtoull(word.c_str() + 1, &end, 10) : 0;
        if (end == nullptr || *end != 0 || n > w.text.size()) throw Malformed();
        T all{};
        for (unsigned long long i = 0; i < n; i++) {
            auto x = get<typename plain<typename T::value_type>::type>(w);
            if constexpr (is_array<T>::value) all.at(i) = std::move(x);
            else all.insert(all.end(), std::move(x));
        }
        return all;
    }
}

template <class... A> std::string put_all(const A &...a) {
    std::string all;
    ((all += " " + put<std::decay_t<A>>(a)), ...);
    return all;
}
template <class... A> std::tuple<std::decay_t<A>...> get_all(Words &w) {
    return std::tuple<std::decay_t<A>...>{get<std::decay_t<A>>(w)...};
}
template <class R, class F, class Args> std::string result_of(F f, Args &args) {
    if constexpr (std::is_void_v<R>) { std::apply(f, args); return "="; }
    else return "= " + put<std::decay_t<R>>(std::apply(f, args));
}
template <class R> R result_from(const std::string &line) {
    Words w{line};
    std::string kind = w.next();
    if (kind == "!") throw std::runtime_error("the program threw: " + unescaped(w.next()));
    if (kind != "=") throw Malformed();
    if constexpr (std::is_void_v<R>) w.end();
    else { auto v = get<std::decay_t<R>>(w); w.end(); return v; }
}

inline std::string all_of(int fd) {
    std::string all;
    char part[65536];
    for (ssize_t n; (n = read(fd, part, sizeof part)) > 0;) all.append(part, size_t(n));
    return all;
}
inline std::vector<std::string> lines_of(const std::string &text) {
    std::vector<std::string> all;
    for (size_t at = 0; at < text.size();) {
        size_t end = std::min(text.find('\n', at), text.size());
        all.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return all;
}
} // namespace assay
