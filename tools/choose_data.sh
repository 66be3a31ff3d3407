# Choose the data for the shell commands: the user's --dataset, or MVTec AD where it is, else the drawn demo data. To be
# sourced, with the user's arguments; sets DATA.

DATA=()
chosen=
root="${PROMPTAD_DATA:-data}"
previous=
for word in "$@"; do
    case "$word" in
        --dataset | --dataset=*) chosen=yes ;;
        --data[-_]root=*) root="${word#*=}" ;;
    esac
    case "$previous" in --data[-_]root) root="$word" ;; esac
    previous="$word"
done
if [ -z "$chosen" ]; then
    if [ -d "$root/mvtec" ]; then
        DATA=(--dataset mvtec)
    else
        echo "no MVTec AD at $root/mvtec: unpack it there (as $root/mvtec/carpet/train/good/000.png) to train on it"
        echo "going on with drawn demo data and the embedded backbone 'tiny': no download, but no real parts either"
        DATA=(--dataset demo)
    fi
fi
