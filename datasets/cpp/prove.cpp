// The test's side: runs the test, whose main is this program's, with what the program has returned. It never shares a box
// with the program; what came from there is data. Exit status 42: passed; 43: not.
namespace assay {
static std::string folder, last;
static std::vector<std::string> calls, results;
static size_t at;
static int said = -1;

[[noreturn]] static void end(bool passed, std::string why) {
    int fd = open((folder + "/judgemessage.txt").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    why += "\n";
    if (fd < 0 || write(fd, why.data(), why.size()) < 0) _exit(1);
    _exit(passed ? 42 : 43);
}
static std::string so_far() {
    lseek(said, 0, SEEK_SET);
    return all_of(said).substr(0, 1000) + "call " + std::to_string(at) + " gave " + last;
}
static void on_signal(int sig) {
    end(false, (sig == SIGALRM ? "its results keep the test busy for too long\n" : sig == SIGABRT ? "" : "the test fell over its results\n") + so_far());
}
// also when the test calls exit itself: then nothing is proved unless the status is 0 and every call was made
static void on_end(int status, void *) {
    std::cout.flush();
    std::fflush(nullptr);
    if (status != 0) end(false, "the test ended with " + std::to_string(status) + "\n" + so_far());
    if (at != calls.size()) end(false, "the test made " + std::to_string(at) + " of " + std::to_string(calls.size()) + " calls");
    end(true, std::to_string(at) + " calls");
}
static std::string file_of(const char *path) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) _exit(1);
    return all_of(fd);
}
// main is the test's own: what it is called with is kept before any object of this program is made
static char **arguments;
__attribute__((constructor(101))) static void begin(int argc, char **argv) {
    if (argc < 4) _exit(1);
    arguments = argv;
}
static int prepare() {
    folder = arguments[3];
    calls = lines_of(file_of(arguments[1]));
    results = lines_of(all_of(0));
    std::FILE *f = std::tmpfile();
    if (f == nullptr) _exit(1);
    said = fileno(f);
    dup2(said, 1);
    dup2(said, 2);
    for (int sig : {SIGABRT, SIGSEGV, SIGFPE, SIGBUS, SIGILL, SIGALRM, SIGTRAP}) std::signal(sig, on_signal);
    alarm(20);
    on_exit(on_end, nullptr);
    if (results.size() > calls.size())
        end(false, "it gave " + std::to_string(results.size()) + " results to " + std::to_string(calls.size()) + " calls");
    return 0;
}

template <class F> struct Call;
template <class R, class... A> struct Call<R(A...)> {
    const char *name;
    R operator()(A... a) const {
        if (at >= calls.size()) end(false, "the test makes more calls than were recorded of it");
        if (name + put_all(a...) != calls[at])
            end(false, "call " + std::to_string(at + 1) + " is not the one that was recorded: its arguments come from an earlier result");
        if (at >= results.size()) end(false, "the program ended before call " + std::to_string(at + 1));
        last = results[at].substr(0, 500);
        const std::string &line = results[at++];
        try {
            return result_from<R>(line);
        } catch (const std::exception &e) {
            end(false, std::string(e.what()) + "\n" + so_far());
        }
    }
};
} // namespace assay
