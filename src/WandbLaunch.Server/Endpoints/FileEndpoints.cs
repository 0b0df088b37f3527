using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http.Metadata;
using Microsoft.Net.Http.Headers;
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
        var whole = new SizeLimit(null);
        app.MapGet("/files/{entity}/{project}/{run}/{**name}", SendFile);
        app.MapPut("/files/{entity}/{project}/{run}/{**name}", ReceiveFileAsync).WithMetadata(whole);
        app.MapGet("/artifacts/{entity}/{md5}", SendBlob);
        app.MapPut("/artifacts/{entity}/{md5}", ReceiveBlobAsync).WithMetadata(whole);

        // Of 2022: region/entity/artifact/md5; of today: …/project/collection/artifact[/artifact]/md5/name.
        app.MapGet(
            "/artifactsV2/{region}/{entity}/{**rest}",
            (string entity, string rest, HttpContext context) =>
                Send(context, rest.Split('/').FirstOrDefault(IsMd5) is { } md5 ? blobs.Open(entity, md5) : null)
        );
        app.MapGet("/artifact-manifests/{id}", SendManifest);
        app.MapPut("/artifact-manifests/{id}", ReceiveManifestAsync).WithMetadata(new SizeLimit(LargestManifest));
    }

    private IResult SendFile(string entity, string project, string run, string name, HttpContext context) =>
        Send(context, runs.Find(entity, project, run) is { } found ? files.Open(found.Id, name) : null);

    private Task ReceiveFileAsync(string entity, string project, string run, string name, HttpContext context) =>
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

    private IResult SendBlob(string entity, string md5, HttpContext context) => Send(context, blobs.Open(entity, md5));

    private Task ReceiveBlobAsync(string entity, string md5, HttpContext context) =>
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

    private IResult SendManifest(string id, HttpContext context) =>
        Send(
            context,
            artifacts.Manifest(Ids.Parse(id)) is { } manifest
                ? new StoredFile(new MemoryStream(manifest), Convert.ToHexString(SHA256.HashData(manifest)))
                : null
        );

    private Task ReceiveManifestAsync(string id, HttpContext context) =>
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

    private static IResult Send(HttpContext context, StoredFile? file)
    {
        if (file is null)
        {
            return Results.Json(new { error = "not found" }, statusCode: 404);
        }

        // Never as a page of this origin: the content is other people's.
        context.Response.Headers.ContentDisposition = "attachment";
        context.Response.Headers.XContentTypeOptions = "nosniff";
        return Results.Stream(
            file.Content,
            "application/octet-stream",
            entityTag: new EntityTagHeaderValue($"\"{file.Tag}\""),
            enableRangeProcessing: true
        );
    }

    private sealed class SizeLimit(long? bytes) : IRequestSizeLimitMetadata
    {
        public long? MaxRequestBodySize => bytes;
    }
}
