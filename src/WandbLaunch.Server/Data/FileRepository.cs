using System.Text;
using Dapper;

namespace WandbLaunch.Server.Data;

/// <summary>Which file of a run has which content.</summary>
internal sealed class FileRepository(Database database, FileStore contents, ContentRows rows, RunLineRepository lines)
{
    /// <summary>Files that the server itself reads are small ones.</summary>
    private const int SmallFile = 16 << 20;

    internal (List<FileRecord> Files, bool More) Page(
        long run,
        IReadOnlyCollection<string>? names,
        string? pattern,
        string? after,
        int first
    )
    {
        // No name at all is how clients say all of them.
        names = names is { Count: > 0 } ? names : null;
        using var connection = database.Open();
        var files = connection
            .Query<FileRecord>(
                "SELECT name AS Name, md5 AS Md5, size AS Size, updated_at AS UpdatedAt FROM files WHERE run = @run AND name > @after AND (@pattern IS NULL OR name GLOB @pattern) ORDER BY name",
                new
                {
                    run,
                    after = after ?? "",
                    pattern,
                },
                buffered: false
            )
            .Where(f => names is null || names.Contains(f.Name))
            .Take(first + 1)
            .ToList();
        if (files.Count <= first)
        {
            return (files, false);
        }

        files.RemoveAt(first);
        return (files, true);
    }

    internal int Count(long run) =>
        database.Read(c => c.ExecuteScalar<int>("SELECT COUNT(*) FROM files WHERE run = @run", new { run }));

    /// <summary>Opens a file's content, or null.</summary>
    internal StoredFile? Open(long run, string name) =>
        rows.Open("files", "run = $a AND name = $b", ("$a", run), ("$b", name));

    /// <summary>A small file as bytes; null when it is not there, or not small.</summary>
    internal byte[]? Read(long run, string name)
    {
        if (Open(run, name) is not { Content: var stream })
        {
            return null;
        }

        using (stream)
        {
            if (stream.Length > SmallFile)
            {
                return null;
            }

            var bytes = new byte[stream.Length];
            stream.ReadExactly(bytes);
            return bytes;
        }
    }

    /// <summary>True when the file has this very content.</summary>
    internal bool Has(long run, string name, string hash) =>
        database.Read(c =>
            c.ExecuteScalar<bool>(
                "SELECT EXISTS (SELECT 1 FROM files WHERE run = @run AND name = @name AND hash = @hash)",
                new
                {
                    run,
                    name,
                    hash,
                }
            )
        ) && contents.Contains(hash);

    /// <summary>Names content as a file of a run. False when the run is gone.</summary>
    internal bool Save(long run, string name, FileContent content) =>
        rows.Save(
            content,
            c =>
            {
                var old = c.ExecuteScalar<string?>(
                    "SELECT hash FROM files WHERE run = @run AND name = @name",
                    new { run, name }
                );
                var saved = database.Durable(w =>
                    w.Execute(
                        "INSERT INTO files (run, name, md5, size, updated_at, content, hash) SELECT @run, @name, @md5, @size, @now, x'', @hash WHERE EXISTS (SELECT 1 FROM runs WHERE id = @run) ON CONFLICT (run, name) DO UPDATE SET md5 = @md5, size = @size, updated_at = @now, content = x'', hash = @hash",
                        new
                        {
                            run,
                            name,
                            md5 = Convert.ToBase64String(content.Md5),
                            size = content.Size,
                            now = Database.Now,
                            hash = content.Hash,
                        }
                    ) > 0
                );
                if (old is not null && old != content.Hash)
                {
                    rows.DropUnused(old);
                }

                return saved;
            }
        );

    /// <summary>The console of a run that has ended, as its output.log.</summary>
    internal void SaveConsole(long run)
    {
        var writer = contents.Create();
        try
        {
            var block = new MemoryStream(1 << 17);
            foreach (var line in lines.All(run, RunLines.Console))
            {
                block.Write(Encoding.UTF8.GetBytes(line));
                if (block.Length > 1 << 16)
                {
                    writer.Write(block.GetBuffer().AsSpan(0, (int)block.Length));
                    block.SetLength(0);
                }
            }

            writer.Write(block.GetBuffer().AsSpan(0, (int)block.Length));
            if (writer.Length > 0)
            {
                Save(run, "output.log", contents.Place(writer));
            }
        }
        finally
        {
            FileStore.Discard(writer);
        }
    }

    internal bool Delete(long run, string name) =>
        database.Write(c =>
        {
            var hash = c.ExecuteScalar<string?>(
                "SELECT hash FROM files WHERE run = @run AND name = @name",
                new { run, name }
            );
            var deleted = database.Durable(w =>
                w.Execute("DELETE FROM files WHERE run = @run AND name = @name", new { run, name }) > 0
            );
            if (hash is not null)
            {
                rows.DropUnused(hash);
            }

            return deleted;
        });

    /// <summary>Deletes a run with all that it has.</summary>
    internal void DeleteRun(long run) =>
        database.Write(c =>
        {
            var hashes = c.Query<string>(
                    "SELECT DISTINCT hash FROM files WHERE run = @run AND hash IS NOT NULL",
                    new { run }
                )
                .AsList();
            database.Durable(w =>
                w.Execute(
                    "DELETE FROM files WHERE run = @run; DELETE FROM history WHERE run = @run; DELETE FROM console WHERE run = @run; DELETE FROM events WHERE run = @run; DELETE FROM runs WHERE id = @run",
                    new { run }
                )
            );
            hashes.ForEach(rows.DropUnused);
        });
}
