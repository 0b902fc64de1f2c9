import asyncpg,asyncio,os,socket,time
P=int(os.environ['LBPORT'])
async def main():
    c=await asyncpg.connect(host='127.0.0.1',port=P,user='app',database='shop',ssl=False,server_settings={'application_name':'m1'})
    await c.execute("drop table if exists dmt; drop domain if exists dm1; drop type if exists en1"); await c.execute('create domain dm1 as int'); await c.execute("create type en1 as enum('aa','bb')"); await c.execute('create table dmt(a dm1,e en1,m money,t text,j json)')
    await c.execute("insert into dmt(a) values($1)",3); await c.execute("insert into dmt(e) values($1)",'bb'); await c.execute("insert into dmt(j) values($1)",'{"a" : 1.0,  "a":2}')
    print(await c.fetch('select * from dmt')); await c.close()
asyncio.run(main())
s=socket.create_connection(('127.0.0.1',P)); s.send((b'\0\0\1\x28\0\2\0\0'+b'shop'.ljust(64,b'\0')+b'app'.ljust(32,b'\0')).ljust(296,b'\0')); print(s.recv(300)); s.close()
s=socket.create_connection(('127.0.0.1',P)); s.send(b'\0\0\0\x12\0\3\0\0user\0app\0\0\0'[:18]); print(s.recv(300)); s.close()
