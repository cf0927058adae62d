# What the judge is told to collect is no regular file, or claims to be larger than the world.
case @VARIANT@ in
urandom) ln -s /dev/urandom main ;;
fifo) perl -e 'use POSIX; mkfifo("main", 0666)' ;;
fifo_inside) mkdir main; perl -e 'use POSIX; mkfifo("main/x", 0666)' ;;
device) mknod main c 1 9 || exit 0 ;;
socket) perl -e 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un("main"))' ;;
sparse) perl -e '$SIG{XFSZ} = "IGNORE"; open(F, ">main"); truncate(F, 1099511627776) or truncate(F, 200000000)' ;;
hardlink) echo x > other && ln other main ;;
many) mkdir main; cd main || exit 1; i=0; while [ $i -lt 6000 ]; do : > f$i; i=$((i + 1)); done ;;
deep) mkdir main; cd main || exit 1; i=0; while [ $i -lt 200 ]; do mkdir d && cd d || exit 0; i=$((i + 1)); done; echo x > x ;;
unreadable) echo x > main; chmod 0 main; mkdir gone; chmod 0 gone ;;
newline) mkdir main; echo x > "main/a
b" ;;
esac
exit 0
