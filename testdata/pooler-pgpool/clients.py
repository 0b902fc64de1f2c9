"""load.py PORT DB CLIENTS ROUNDS MODE(simple|ext|mix) """
import asyncio,sys,random,psycopg
port,db,nc,rounds,mode=int(sys.argv[1]),sys.argv[2],int(sys.argv[3]),int(sys.argv[4]),sys.argv[5]
pre=sys.argv[6] if len(sys.argv)>6 else 'app'
async def client(i):
    r=random.Random(i)
    c=await psycopg.AsyncConnection.connect(f"host=127.0.0.1 port={port} user=app dbname={db} application_name={pre}{i} sslmode=disable",autocommit=True,prepare_threshold=None)
    async def go(sql,par=None):
        try:
            if mode=='ext' and par is None: par=()
            if mode=='ext':
                cur=psycopg.AsyncCursor(c); await cur.execute(sql,par,binary=True)
            elif mode=='mix' and r.random()<.5:
                cur=psycopg.AsyncCursor(c); await cur.execute(sql,par,binary=True)
            else: await c.execute(sql,par)
        except psycopg.Error as e: pass
    for t in range(rounds):
        k=r.randrange(9)
        if k==0: await go("SELECT nextval('pool_seq')")
        elif k==1: await go("UPDATE pool_item SET n = n + 1 WHERE id = 1")
        elif k==2: await go("SELECT 1")
        elif k==3: await go("SELECT 1/0")
        elif k==4 and db!='stmt':
            try:
                async with c.transaction():
                    await go("SELECT 1"); await go("SELECT 1")
                    if r.random()<.5: await go("SELECT nextval('pool_seq')")
                    if r.random()<.3: await go("SELECT 1/0")
            except psycopg.Error: pass
        elif k==5: await go("SELECT %s::int, nextval('pool_seq')",(r.randrange(2),))
        elif k==6: await go("SELECT %s::int",(r.randrange(2),))
        elif k==7:
            try:
                async with c.cursor().copy("COPY (SELECT 1) TO STDOUT") as cp:
                    async for _ in cp: pass
            except psycopg.Error: pass
        elif k==8 and db!='stmt':
            async with c.pipeline():
                for _ in range(r.randrange(1,4)): await c.execute("SELECT 1")
                await c.execute("SELECT nextval('pool_seq')")
    await c.close()
async def main(): await asyncio.gather(*[client(i) for i in range(nc)],return_exceptions=True)
asyncio.run(main())
