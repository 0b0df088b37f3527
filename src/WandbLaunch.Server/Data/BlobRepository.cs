using Dapper;

namespace WandbLaunch.Server.Data;

/// <summary>Content of artifacts, which is named by its own digest.</summary>
internal sealed class BlobRepository(Database database, FileStore contents, ContentRows rows)
{
    /// <summary>Opens content by its digest, or null.</summary>
    internal StoredFile? Open(string entity, string md5) =>
        rows.Open("blobs", "entity = $a AND md5 = $b", ("$a", entity), ("$b", md5.ToLowerInvariant()));

    internal bool Has(string entity, string md5)
    {
        using var found = Open(entity, md5)?.Content;
        return found is not null;
    }

    internal bool Save(string entity, FileContent content) =>
        rows.Save(
            content,
            c =>
            {
                var md5 = Convert.ToHexString(content.Md5).ToLowerInvariant();
                var old = c.ExecuteScalar<string?>(
                    "SELECT hash FROM blobs WHERE entity = @entity AND md5 = @md5",
                    new { entity, md5 }
                );

                // What is there stays: content of the same MD5 that is another was made to take its place.
                if (old is null || !contents.Contains(old))
                {
                    database.Durable(w =>
                        w.Execute(
                            "INSERT INTO blobs (entity, md5, content, hash) VALUES (@entity, @md5, x'', @hash) ON CONFLICT (entity, md5) DO UPDATE SET hash = @hash WHERE hash IS NOT NULL",
                            new
                            {
                                entity,
                                md5,
                                hash = content.Hash,
                            }
                        )
                    );
                }

                return true;
            }
        );
}
