import socket,struct,os,time
P=int(os.environ['LBPORT'])
class C:
    def __init__(s,app='raw',**o):
        s.s=socket.create_connection(('127.0.0.1',P)); b=b'\0\3\0\0'
        for k,v in dict(user='app',database='shop',application_name=app,**o).items(): b+=k.encode()+b'\0'+(v.encode() if isinstance(v,str) else v)+b'\0'
        b+=b'\0'; s.s.sendall(struct.pack('!I',len(b)+4)+b); s.buf=b''; s.out=b''; s.upto(b'Z')
    def m(s,t,b): s.out+=t+struct.pack('!I',len(b)+4)+b; return s
    def fl(s): s.s.sendall(s.out); s.out=b''; return s
    def rd(s):
        while len(s.buf)<5 or len(s.buf)<1+struct.unpack('!I',s.buf[1:5])[0]:
            d=s.s.recv(65536)
            if not d: return None
            s.buf+=d
        n=1+struct.unpack('!I',s.buf[1:5])[0]; r=s.buf[:n]; s.buf=s.buf[n:]; return r
    def upto(s,ts):
        l=b''
        while 1:
            r=s.rd()
            if r is None: return l
            l+=r[:1]
            if r[:1]==b'E': print(r[5:120])
            if r[:1] in ts and len(r): return l
    def parse(s,n,q,ty=()): return s.m(b'P',n+b'\0'+q+b'\0'+struct.pack('!H',len(ty))+b''.join(struct.pack('!I',t) for t in ty))
    def bind(s,p,n,a=(),f=(),rf=()): 
        b=p+b'\0'+n+b'\0'+struct.pack('!H',len(f))+b''.join(struct.pack('!H',x) for x in f)+struct.pack('!H',len(a))
        for x in a: b+=struct.pack('!i',-1) if x is None else struct.pack('!I',len(x))+x
        return s.m(b'B',b+struct.pack('!H',len(rf))+b''.join(struct.pack('!H',x) for x in rf))
    def ex(s,p,n=0): return s.m(b'E',p+b'\0'+struct.pack('!I',n))
    def desc(s,k,n): return s.m(b'D',k+n+b'\0')
    def close(s,k,n): return s.m(b'C',k+n+b'\0')
    def sync(s): s.m(b'S',b'').fl(); return s.upto(b'Z')
    def flush(s): return s.m(b'H',b'').fl()
    def q(s,q): s.m(b'Q',q+b'\0').fl(); return s.upto(b'Z')
    def end(s): s.m(b'X',b'').fl(); s.s.close()
