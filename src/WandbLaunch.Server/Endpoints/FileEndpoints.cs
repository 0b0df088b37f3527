using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http.Metadata;
using Microsoft.Net.Http.Headers;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Endpoints;

/// <summary>Uploads and downloads of files and artifacts. A download may be of a part; for uploads see <see cref="Uploads"/>.</summary>
internal sealed class FileEndpoints(
    RunRepository runs,
    FileRepository files,
    BlobRepository blobs,
    ArtifactRepository artifacts,
    FileStore contents
)
{
    /// <summary>A manifest is read whole, so it has a limit; other files have that of the disk.</summary>
    private const long LargestManifest = 64 << 20;

    /// <summary>What clients are told to send along. It tells ours that this address takes parts.</summary>
    internal static readonly string[] UploadHeaders = ["X-WandbLaunch-Upload:resumable"];

    internal void Map(IEndpointRouteBuilder app)
    {
        const string File = "/files/{entity}/{project}/{run}/{**name}";
        const string Blob = "/artifacts/{entity}/{md5}";
        const string Manifest = "/artifact-manifests/{id}";
        var whole = new SizeLimit(null);
        app.MapGet(File, Parts.Of("entity", "project", "run", "name", SendFileAsync)).For(Right.Read, "entity");
        app.MapPut(File, Parts.Of("entity", "project", "run", "name", ReceiveFileAsync))
            .For(Right.Write, "entity")
            .Unaudited()
            .WithMetadata(whole);
        app.MapGet(Blob, Parts.Of("entity", "md5", SendBlobAsync)).For(Right.Read, "entity");
        app.MapPut(Blob, Parts.Of("entity", "md5", ReceiveBlobAsync))
            .For(Right.Write, "entity")
            .Unaudited()
            .WithMetadata(whole);

        // Of 2022: region/entity/artifact/md5; of today: …/project/collection/artifact[/artifact]/md5/name.
        app.MapGet(
                "/artifactsV2/{region}/{entity}/{**rest}",
                Parts.Of(
                    "entity",
                    "rest",
                    (context, entity, rest) =>
                        SendBlobAsync(context, entity, rest.Split('/').FirstOrDefault(IsMd5) ?? "")
                )
            )
            .For(Right.Read, "entity");
        app.MapGet(Manifest, Parts.Of("id", SendManifestAsync)).For(Right.Read, EntityOfArtifact);
        app.MapPut(Manifest, Parts.Of("id", ReceiveManifestAsync))
            .For(Right.Write, EntityOfArtifact)
            .Unaudited()
            .WithMetadata(new SizeLimit(LargestManifest));
    }

    private string? EntityOfArtifact(HttpContext context) =>
        artifacts.Find(Ids.Parse(context.GetRouteValue("id")?.ToString()))?.Entity;

    private Task SendFileAsync(HttpContext context, string entity, string project, string run, string name) =>
        SendAsync(context, runs.Find(entity, project, run) is { } found ? files.Open(found.Id, name) : null);

    private Task ReceiveFileAsync(HttpContext context, string entity, string project, string run, string name) =>
        Uploads.AnswerAsync(
            context,
            async () =>
            {
                var found = runs.Find(entity, project, run)?.Id ?? throw FileFault.NotFound();
                CheckName(name);
                await Uploads.ReceiveAsync(
                    context,
                    contents,
                    $"file\n{found.ToString(CultureInfo.InvariantCulture)}\n{name}",
                    null,
                    hash => files.Has(found, name, hash),
                    content => files.Save(found, name, content)
                );
            }
        );

    private Task SendBlobAsync(HttpContext context, string entity, string md5) =>
        SendAsync(context, blobs.Open(entity, md5));

    private Task ReceiveBlobAsync(HttpContext context, string entity, string md5) =>
        Uploads.AnswerAsync(
            context,
            () =>
                Uploads.ReceiveAsync(
                    context,
                    contents,
                    $"blob\n{entity}\n{md5}",
                    IsMd5(md5) ? md5 : null,
                    _ => blobs.Has(entity, md5),
                    content => blobs.Save(entity, content)
                )
        );

    private Task SendManifestAsync(HttpContext context, string id) =>
        SendAsync(
            context,
            artifacts.Manifest(Ids.Parse(id)) is { } manifest
                ? new StoredFile(new MemoryStream(manifest), Convert.ToHexString(SHA256.HashData(manifest)))
                : null
        );

    private Task ReceiveManifestAsync(HttpContext context, string id) =>
        Uploads.AnswerAsync(
            context,
            async () =>
            {
                using var body = new MemoryStream();
                await context.Request.Body.CopyToAsync(body, context.RequestAborted);
                artifacts.SetManifest(Ids.Parse(id), body.ToArray());
            }
        );

    private static bool IsMd5(string text) => text.Length == 32 && text.All(char.IsAsciiHexDigit);

    // Names are keys here and never paths. What no client could save below a folder is not taken.
    private static void CheckName(string name)
    {
        if (
            name.Length == 0
            || Encoding.UTF8.GetByteCount(name) > 1024
            || name[0] is '/' or '\\'
            || name.Any(char.IsControl)
            || name.Split('/', '\\').Contains("..")
        )
        {
            throw new FileFault(400, "FileNameInvalid", "The file's name is not one relative to its run.");
        }
    }

    private static Task SendAsync(HttpContext context, StoredFile? file)
    {
        if (file is null)
        {
            return Results.Json(new { error = "not found" }, statusCode: 404).ExecuteAsync(context);
        }

        // Never as a page of this origin: the content is other people's.
        context.Response.Headers.ContentDisposition = "attachment";
        context.Response.Headers.XContentTypeOptions = "nosniff";
        return Results
            .Stream(
                file.Content,
                "application/octet-stream",
                entityTag: new EntityTagHeaderValue($"\"{file.Tag}\""),
                enableRangeProcessing: true
            )
            .ExecuteAsync(context);
    }

    private sealed class SizeLimit(long? bytes) : IRequestSizeLimitMetadata
    {
        public long? MaxRequestBodySize => bytes;
    }
}
