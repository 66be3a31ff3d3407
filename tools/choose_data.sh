# Choose the data for the shell commands: MVTec AD where it is, else the drawn demo data. To be sourced; sets DATA.

mvtec="${PROMPTAD_DATA:-data}/mvtec"
if [ -d "$mvtec" ]; then
    DATA=(--dataset mvtec)
else
    echo "no MVTec AD at $mvtec: unpack it there (as $mvtec/carpet/train/good/000.png) to train on it"
    echo "going on with drawn demo data and the embedded backbone 'tiny': no download, but no real parts either"
    DATA=(--dataset demo)
fi
