// Written by tests/javascript/standalone.mjs from the published schemas; do not edit.
export const CHANNELS = ["linkedin_connect","linkedin_message","email","call_script"];
export const CONDITIONS = ["always","no_response","opened_not_replied"];
export const TONES = ["professional","casual","friendly","formal","conversational","enthusiastic","direct"];
"use strict";
export const validateSteps = validate20;
const schema31 = {"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"urn:campaign-model:template_config:submitted:1","title":"template_config, submitted","type":"array","minItems":1,"maxItems":20,"items":{"type":"object","required":["step","channel","label","enabled","needs_pdf","variant_count"],"properties":{"step":{"description":"a whole number, the step's place counted from 1","type":"integer"},"channel":{"type":"string","enum":["linkedin_connect","linkedin_message","email","call_script"]},"label":{"type":"string","minLength":1,"maxLength":200},"enabled":{"type":"boolean"},"needs_pdf":{"type":"boolean"},"variant_count":{"type":"integer","minimum":1,"maximum":3},"key":{"description":"1 to 40 characters out of a-z, A-Z, 0-9, _ and -","type":"string","pattern":"^[A-Za-z0-9_-]{1,40}$"},"day_offset":{"type":"integer","minimum":0,"maximum":365},"condition":{"type":"string","enum":["always","no_response","opened_not_replied"]},"config":{"type":"object"}},"patternProperties":{"^x_":true},"additionalProperties":false}};
const func1 = Object.prototype.hasOwnProperty;
const func2 = (text) => [...text].length;
const pattern4 = new RegExp("^x_", "u");
const pattern5 = new RegExp("^[A-Za-z0-9_-]{1,40}$", "u");

function validate20(data, {instancePath="", parentData, parentDataProperty, rootData=data, dynamicAnchors={}}={}){
/*# sourceURL="urn:campaign-model:template_config:submitted:1" */;
let vErrors = null;
let errors = 0;
const evaluated0 = validate20.evaluated;
if(evaluated0.dynamicProps){
evaluated0.props = undefined;
}
if(evaluated0.dynamicItems){
evaluated0.items = undefined;
}
if(Array.isArray(data)){
if(data.length > 20){
const err0 = {instancePath,schemaPath:"#/maxItems",keyword:"maxItems",params:{limit: 20},message:"must NOT have more than 20 items",schema:20,parentSchema:schema31,data};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
if(data.length < 1){
const err1 = {instancePath,schemaPath:"#/minItems",keyword:"minItems",params:{limit: 1},message:"must NOT have fewer than 1 items",schema:1,parentSchema:schema31,data};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
}
const len0 = data.length;
for(let i0=0; i0<len0; i0++){
let data0 = data[i0];
if(data0 && typeof data0 == "object" && !Array.isArray(data0)){
if(data0.step === undefined){
const err2 = {instancePath:instancePath+"/" + i0,schemaPath:"#/items/required",keyword:"required",params:{missingProperty: "step"},message:"must have required property '"+"step"+"'",schema:schema31.items.required,parentSchema:schema31.items,data:data0};
if(vErrors === null){
vErrors = [err2];
}
else {
vErrors.push(err2);
}
errors++;
}
if(data0.channel === undefined){
const err3 = {instancePath:instancePath+"/" + i0,schemaPath:"#/items/required",keyword:"required",params:{missingProperty: "channel"},message:"must have required property '"+"channel"+"'",schema:schema31.items.required,parentSchema:schema31.items,data:data0};
if(vErrors === null){
vErrors = [err3];
}
else {
vErrors.push(err3);
}
errors++;
}
if(data0.label === undefined){
const err4 = {instancePath:instancePath+"/" + i0,schemaPath:"#/items/required",keyword:"required",params:{missingProperty: "label"},message:"must have required property '"+"label"+"'",schema:schema31.items.required,parentSchema:schema31.items,data:data0};
if(vErrors === null){
vErrors = [err4];
}
else {
vErrors.push(err4);
}
errors++;
}
if(data0.enabled === undefined){
const err5 = {instancePath:instancePath+"/" + i0,schemaPath:"#/items/required",keyword:"required",params:{missingProperty: "enabled"},message:"must have required property '"+"enabled"+"'",schema:schema31.items.required,parentSchema:schema31.items,data:data0};
if(vErrors === null){
vErrors = [err5];
}
else {
vErrors.push(err5);
}
errors++;
}
if(data0.needs_pdf === undefined){
const err6 = {instancePath:instancePath+"/" + i0,schemaPath:"#/items/required",keyword:"required",params:{missingProperty: "needs_pdf"},message:"must have required property '"+"needs_pdf"+"'",schema:schema31.items.required,parentSchema:schema31.items,data:data0};
if(vErrors === null){
vErrors = [err6];
}
else {
vErrors.push(err6);
}
errors++;
}
if(data0.variant_count === undefined){
const err7 = {instancePath:instancePath+"/" + i0,schemaPath:"#/items/required",keyword:"required",params:{missingProperty: "variant_count"},message:"must have required property '"+"variant_count"+"'",schema:schema31.items.required,parentSchema:schema31.items,data:data0};
if(vErrors === null){
vErrors = [err7];
}
else {
vErrors.push(err7);
}
errors++;
}
for(const key0 in data0){
if(!((func1.call(schema31.items.properties, key0)) || (pattern4.test(key0)))){
const err8 = {instancePath:instancePath+"/" + i0,schemaPath:"#/items/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key0},message:"must NOT have additional properties",schema:false,parentSchema:schema31.items,data:data0};
if(vErrors === null){
vErrors = [err8];
}
else {
vErrors.push(err8);
}
errors++;
}
}
if(data0.step !== undefined){
let data1 = data0.step;
if(!(((typeof data1 == "number") && (!(data1 % 1) && !isNaN(data1))) && (isFinite(data1)))){
const err9 = {instancePath:instancePath+"/" + i0+"/step",schemaPath:"#/items/properties/step/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema31.items.properties.step.type,parentSchema:schema31.items.properties.step,data:data1};
if(vErrors === null){
vErrors = [err9];
}
else {
vErrors.push(err9);
}
errors++;
}
}
if(data0.channel !== undefined){
let data2 = data0.channel;
if(typeof data2 !== "string"){
const err10 = {instancePath:instancePath+"/" + i0+"/channel",schemaPath:"#/items/properties/channel/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema31.items.properties.channel.type,parentSchema:schema31.items.properties.channel,data:data2};
if(vErrors === null){
vErrors = [err10];
}
else {
vErrors.push(err10);
}
errors++;
}
if(!((((data2 === "linkedin_connect") || (data2 === "linkedin_message")) || (data2 === "email")) || (data2 === "call_script"))){
const err11 = {instancePath:instancePath+"/" + i0+"/channel",schemaPath:"#/items/properties/channel/enum",keyword:"enum",params:{allowedValues: schema31.items.properties.channel.enum},message:"must be equal to one of the allowed values",schema:schema31.items.properties.channel.enum,parentSchema:schema31.items.properties.channel,data:data2};
if(vErrors === null){
vErrors = [err11];
}
else {
vErrors.push(err11);
}
errors++;
}
}
if(data0.label !== undefined){
let data3 = data0.label;
if(typeof data3 === "string"){
if(func2(data3) > 200){
const err12 = {instancePath:instancePath+"/" + i0+"/label",schemaPath:"#/items/properties/label/maxLength",keyword:"maxLength",params:{limit: 200},message:"must NOT have more than 200 characters",schema:200,parentSchema:schema31.items.properties.label,data:data3};
if(vErrors === null){
vErrors = [err12];
}
else {
vErrors.push(err12);
}
errors++;
}
if(func2(data3) < 1){
const err13 = {instancePath:instancePath+"/" + i0+"/label",schemaPath:"#/items/properties/label/minLength",keyword:"minLength",params:{limit: 1},message:"must NOT have fewer than 1 characters",schema:1,parentSchema:schema31.items.properties.label,data:data3};
if(vErrors === null){
vErrors = [err13];
}
else {
vErrors.push(err13);
}
errors++;
}
}
else {
const err14 = {instancePath:instancePath+"/" + i0+"/label",schemaPath:"#/items/properties/label/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema31.items.properties.label.type,parentSchema:schema31.items.properties.label,data:data3};
if(vErrors === null){
vErrors = [err14];
}
else {
vErrors.push(err14);
}
errors++;
}
}
if(data0.enabled !== undefined){
let data4 = data0.enabled;
if(typeof data4 !== "boolean"){
const err15 = {instancePath:instancePath+"/" + i0+"/enabled",schemaPath:"#/items/properties/enabled/type",keyword:"type",params:{type: "boolean"},message:"must be boolean",schema:schema31.items.properties.enabled.type,parentSchema:schema31.items.properties.enabled,data:data4};
if(vErrors === null){
vErrors = [err15];
}
else {
vErrors.push(err15);
}
errors++;
}
}
if(data0.needs_pdf !== undefined){
let data5 = data0.needs_pdf;
if(typeof data5 !== "boolean"){
const err16 = {instancePath:instancePath+"/" + i0+"/needs_pdf",schemaPath:"#/items/properties/needs_pdf/type",keyword:"type",params:{type: "boolean"},message:"must be boolean",schema:schema31.items.properties.needs_pdf.type,parentSchema:schema31.items.properties.needs_pdf,data:data5};
if(vErrors === null){
vErrors = [err16];
}
else {
vErrors.push(err16);
}
errors++;
}
}
if(data0.variant_count !== undefined){
let data6 = data0.variant_count;
if(!(((typeof data6 == "number") && (!(data6 % 1) && !isNaN(data6))) && (isFinite(data6)))){
const err17 = {instancePath:instancePath+"/" + i0+"/variant_count",schemaPath:"#/items/properties/variant_count/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema31.items.properties.variant_count.type,parentSchema:schema31.items.properties.variant_count,data:data6};
if(vErrors === null){
vErrors = [err17];
}
else {
vErrors.push(err17);
}
errors++;
}
if((typeof data6 == "number") && (isFinite(data6))){
if(data6 > 3 || isNaN(data6)){
const err18 = {instancePath:instancePath+"/" + i0+"/variant_count",schemaPath:"#/items/properties/variant_count/maximum",keyword:"maximum",params:{comparison: "<=", limit: 3},message:"must be <= 3",schema:3,parentSchema:schema31.items.properties.variant_count,data:data6};
if(vErrors === null){
vErrors = [err18];
}
else {
vErrors.push(err18);
}
errors++;
}
if(data6 < 1 || isNaN(data6)){
const err19 = {instancePath:instancePath+"/" + i0+"/variant_count",schemaPath:"#/items/properties/variant_count/minimum",keyword:"minimum",params:{comparison: ">=", limit: 1},message:"must be >= 1",schema:1,parentSchema:schema31.items.properties.variant_count,data:data6};
if(vErrors === null){
vErrors = [err19];
}
else {
vErrors.push(err19);
}
errors++;
}
}
}
if(data0.key !== undefined){
let data7 = data0.key;
if(typeof data7 === "string"){
if(!pattern5.test(data7)){
const err20 = {instancePath:instancePath+"/" + i0+"/key",schemaPath:"#/items/properties/key/pattern",keyword:"pattern",params:{pattern: "^[A-Za-z0-9_-]{1,40}$"},message:"must match pattern \""+"^[A-Za-z0-9_-]{1,40}$"+"\"",schema:"^[A-Za-z0-9_-]{1,40}$",parentSchema:schema31.items.properties.key,data:data7};
if(vErrors === null){
vErrors = [err20];
}
else {
vErrors.push(err20);
}
errors++;
}
}
else {
const err21 = {instancePath:instancePath+"/" + i0+"/key",schemaPath:"#/items/properties/key/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema31.items.properties.key.type,parentSchema:schema31.items.properties.key,data:data7};
if(vErrors === null){
vErrors = [err21];
}
else {
vErrors.push(err21);
}
errors++;
}
}
if(data0.day_offset !== undefined){
let data8 = data0.day_offset;
if(!(((typeof data8 == "number") && (!(data8 % 1) && !isNaN(data8))) && (isFinite(data8)))){
const err22 = {instancePath:instancePath+"/" + i0+"/day_offset",schemaPath:"#/items/properties/day_offset/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema31.items.properties.day_offset.type,parentSchema:schema31.items.properties.day_offset,data:data8};
if(vErrors === null){
vErrors = [err22];
}
else {
vErrors.push(err22);
}
errors++;
}
if((typeof data8 == "number") && (isFinite(data8))){
if(data8 > 365 || isNaN(data8)){
const err23 = {instancePath:instancePath+"/" + i0+"/day_offset",schemaPath:"#/items/properties/day_offset/maximum",keyword:"maximum",params:{comparison: "<=", limit: 365},message:"must be <= 365",schema:365,parentSchema:schema31.items.properties.day_offset,data:data8};
if(vErrors === null){
vErrors = [err23];
}
else {
vErrors.push(err23);
}
errors++;
}
if(data8 < 0 || isNaN(data8)){
const err24 = {instancePath:instancePath+"/" + i0+"/day_offset",schemaPath:"#/items/properties/day_offset/minimum",keyword:"minimum",params:{comparison: ">=", limit: 0},message:"must be >= 0",schema:0,parentSchema:schema31.items.properties.day_offset,data:data8};
if(vErrors === null){
vErrors = [err24];
}
else {
vErrors.push(err24);
}
errors++;
}
}
}
if(data0.condition !== undefined){
let data9 = data0.condition;
if(typeof data9 !== "string"){
const err25 = {instancePath:instancePath+"/" + i0+"/condition",schemaPath:"#/items/properties/condition/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema31.items.properties.condition.type,parentSchema:schema31.items.properties.condition,data:data9};
if(vErrors === null){
vErrors = [err25];
}
else {
vErrors.push(err25);
}
errors++;
}
if(!(((data9 === "always") || (data9 === "no_response")) || (data9 === "opened_not_replied"))){
const err26 = {instancePath:instancePath+"/" + i0+"/condition",schemaPath:"#/items/properties/condition/enum",keyword:"enum",params:{allowedValues: schema31.items.properties.condition.enum},message:"must be equal to one of the allowed values",schema:schema31.items.properties.condition.enum,parentSchema:schema31.items.properties.condition,data:data9};
if(vErrors === null){
vErrors = [err26];
}
else {
vErrors.push(err26);
}
errors++;
}
}
if(data0.config !== undefined){
let data10 = data0.config;
if(!(data10 && typeof data10 == "object" && !Array.isArray(data10))){
const err27 = {instancePath:instancePath+"/" + i0+"/config",schemaPath:"#/items/properties/config/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema31.items.properties.config.type,parentSchema:schema31.items.properties.config,data:data10};
if(vErrors === null){
vErrors = [err27];
}
else {
vErrors.push(err27);
}
errors++;
}
}
}
else {
const err28 = {instancePath:instancePath+"/" + i0,schemaPath:"#/items/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema31.items.type,parentSchema:schema31.items,data:data0};
if(vErrors === null){
vErrors = [err28];
}
else {
vErrors.push(err28);
}
errors++;
}
}
}
else {
const err29 = {instancePath,schemaPath:"#/type",keyword:"type",params:{type: "array"},message:"must be array",schema:schema31.type,parentSchema:schema31,data};
if(vErrors === null){
vErrors = [err29];
}
else {
vErrors.push(err29);
}
errors++;
}
validate20.errors = vErrors;
return errors === 0;
}
validate20.evaluated = {"items":true,"dynamicProps":false,"dynamicItems":false};

export const validateSettings = validate21;
const schema32 = {"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"urn:campaign-model:generation_config:submitted:1","title":"generation_config, submitted","type":"object","properties":{"$schema":{"description":"text: the address of this JSON Schema, for editors; it is not kept","type":"string"},"tone":{"type":"string","enum":["professional","casual","friendly","formal","conversational","enthusiastic","direct"]},"language":{"description":"a language tag such as en or pt-BR: 2 to 8 letters, then at most three parts of 1 to 8 letters or digits, each after a -","type":"string","pattern":"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$"},"custom_instructions":{"type":"string","maxLength":10000},"default_variant_count":{"type":"integer","minimum":1,"maximum":3},"budget":{"description":"an amount in quotes and plain digits such as \"25.00\", below 1000000000 and with at most 9 decimals","type":"string","pattern":"^(0|[1-9][0-9]{0,8})(\\.[0-9]{1,9})?$"}},"patternProperties":{"^x_":true},"additionalProperties":false};
const pattern7 = new RegExp("^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$", "u");
const pattern8 = new RegExp("^(0|[1-9][0-9]{0,8})(\\.[0-9]{1,9})?$", "u");

function validate21(data, {instancePath="", parentData, parentDataProperty, rootData=data, dynamicAnchors={}}={}){
/*# sourceURL="urn:campaign-model:generation_config:submitted:1" */;
let vErrors = null;
let errors = 0;
const evaluated0 = validate21.evaluated;
if(evaluated0.dynamicProps){
evaluated0.props = undefined;
}
if(evaluated0.dynamicItems){
evaluated0.items = undefined;
}
if(data && typeof data == "object" && !Array.isArray(data)){
for(const key0 in data){
if(!(((((((key0 === "$schema") || (key0 === "tone")) || (key0 === "language")) || (key0 === "custom_instructions")) || (key0 === "default_variant_count")) || (key0 === "budget")) || (pattern4.test(key0)))){
const err0 = {instancePath,schemaPath:"#/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key0},message:"must NOT have additional properties",schema:false,parentSchema:schema32,data};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
}
if(data.$schema !== undefined){
let data0 = data.$schema;
if(typeof data0 !== "string"){
const err1 = {instancePath:instancePath+"/$schema",schemaPath:"#/properties/%24schema/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema32.properties.$schema.type,parentSchema:schema32.properties.$schema,data:data0};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
}
}
if(data.tone !== undefined){
let data1 = data.tone;
if(typeof data1 !== "string"){
const err2 = {instancePath:instancePath+"/tone",schemaPath:"#/properties/tone/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema32.properties.tone.type,parentSchema:schema32.properties.tone,data:data1};
if(vErrors === null){
vErrors = [err2];
}
else {
vErrors.push(err2);
}
errors++;
}
if(!(((((((data1 === "professional") || (data1 === "casual")) || (data1 === "friendly")) || (data1 === "formal")) || (data1 === "conversational")) || (data1 === "enthusiastic")) || (data1 === "direct"))){
const err3 = {instancePath:instancePath+"/tone",schemaPath:"#/properties/tone/enum",keyword:"enum",params:{allowedValues: schema32.properties.tone.enum},message:"must be equal to one of the allowed values",schema:schema32.properties.tone.enum,parentSchema:schema32.properties.tone,data:data1};
if(vErrors === null){
vErrors = [err3];
}
else {
vErrors.push(err3);
}
errors++;
}
}
if(data.language !== undefined){
let data2 = data.language;
if(typeof data2 === "string"){
if(!pattern7.test(data2)){
const err4 = {instancePath:instancePath+"/language",schemaPath:"#/properties/language/pattern",keyword:"pattern",params:{pattern: "^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$"},message:"must match pattern \""+"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$"+"\"",schema:"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$",parentSchema:schema32.properties.language,data:data2};
if(vErrors === null){
vErrors = [err4];
}
else {
vErrors.push(err4);
}
errors++;
}
}
else {
const err5 = {instancePath:instancePath+"/language",schemaPath:"#/properties/language/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema32.properties.language.type,parentSchema:schema32.properties.language,data:data2};
if(vErrors === null){
vErrors = [err5];
}
else {
vErrors.push(err5);
}
errors++;
}
}
if(data.custom_instructions !== undefined){
let data3 = data.custom_instructions;
if(typeof data3 === "string"){
if(func2(data3) > 10000){
const err6 = {instancePath:instancePath+"/custom_instructions",schemaPath:"#/properties/custom_instructions/maxLength",keyword:"maxLength",params:{limit: 10000},message:"must NOT have more than 10000 characters",schema:10000,parentSchema:schema32.properties.custom_instructions,data:data3};
if(vErrors === null){
vErrors = [err6];
}
else {
vErrors.push(err6);
}
errors++;
}
}
else {
const err7 = {instancePath:instancePath+"/custom_instructions",schemaPath:"#/properties/custom_instructions/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema32.properties.custom_instructions.type,parentSchema:schema32.properties.custom_instructions,data:data3};
if(vErrors === null){
vErrors = [err7];
}
else {
vErrors.push(err7);
}
errors++;
}
}
if(data.default_variant_count !== undefined){
let data4 = data.default_variant_count;
if(!(((typeof data4 == "number") && (!(data4 % 1) && !isNaN(data4))) && (isFinite(data4)))){
const err8 = {instancePath:instancePath+"/default_variant_count",schemaPath:"#/properties/default_variant_count/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema32.properties.default_variant_count.type,parentSchema:schema32.properties.default_variant_count,data:data4};
if(vErrors === null){
vErrors = [err8];
}
else {
vErrors.push(err8);
}
errors++;
}
if((typeof data4 == "number") && (isFinite(data4))){
if(data4 > 3 || isNaN(data4)){
const err9 = {instancePath:instancePath+"/default_variant_count",schemaPath:"#/properties/default_variant_count/maximum",keyword:"maximum",params:{comparison: "<=", limit: 3},message:"must be <= 3",schema:3,parentSchema:schema32.properties.default_variant_count,data:data4};
if(vErrors === null){
vErrors = [err9];
}
else {
vErrors.push(err9);
}
errors++;
}
if(data4 < 1 || isNaN(data4)){
const err10 = {instancePath:instancePath+"/default_variant_count",schemaPath:"#/properties/default_variant_count/minimum",keyword:"minimum",params:{comparison: ">=", limit: 1},message:"must be >= 1",schema:1,parentSchema:schema32.properties.default_variant_count,data:data4};
if(vErrors === null){
vErrors = [err10];
}
else {
vErrors.push(err10);
}
errors++;
}
}
}
if(data.budget !== undefined){
let data5 = data.budget;
if(typeof data5 === "string"){
if(!pattern8.test(data5)){
const err11 = {instancePath:instancePath+"/budget",schemaPath:"#/properties/budget/pattern",keyword:"pattern",params:{pattern: "^(0|[1-9][0-9]{0,8})(\\.[0-9]{1,9})?$"},message:"must match pattern \""+"^(0|[1-9][0-9]{0,8})(\\.[0-9]{1,9})?$"+"\"",schema:"^(0|[1-9][0-9]{0,8})(\\.[0-9]{1,9})?$",parentSchema:schema32.properties.budget,data:data5};
if(vErrors === null){
vErrors = [err11];
}
else {
vErrors.push(err11);
}
errors++;
}
}
else {
const err12 = {instancePath:instancePath+"/budget",schemaPath:"#/properties/budget/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema32.properties.budget.type,parentSchema:schema32.properties.budget,data:data5};
if(vErrors === null){
vErrors = [err12];
}
else {
vErrors.push(err12);
}
errors++;
}
}
}
else {
const err13 = {instancePath,schemaPath:"#/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema32.type,parentSchema:schema32,data};
if(vErrors === null){
vErrors = [err13];
}
else {
vErrors.push(err13);
}
errors++;
}
validate21.errors = vErrors;
return errors === 0;
}
validate21.evaluated = {"props":true,"dynamicProps":false,"dynamicItems":false};
